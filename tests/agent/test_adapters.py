"""Adapter versions are whole, immutable and never reused; the live pointer moves at once."""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tooln1_agent.adapters import Adapter, AdapterStore
from tooln1_agent.errors import AdapterError


def trained(directory: Path, weights: bytes = b"weights") -> Path:
    """Write what a trainer saves in peft's layout."""
    directory.mkdir(parents=True)
    (directory / "adapter_config.json").write_text('{"r": 8}')
    (directory / "adapter_model.safetensors").write_bytes(weights)
    return directory


def add(store: AdapterStore, source: Path, *, parent: str | None = None) -> Adapter:
    return store.add(
        source,
        base_model="tiny",
        parent=parent,
        prompt_version="p1",
        trained_on={"n": 3, "sources": {"feedback": 3}},
        config_hash="c0ffee",
    )


@pytest.fixture
def store(tmp_path: Path) -> AdapterStore:
    return AdapterStore(tmp_path / "adapters")


@pytest.fixture
def three(store: AdapterStore, tmp_path: Path) -> tuple[str, str, str]:
    sources = (trained(tmp_path / str(i), weights=bytes([i])) for i in range(3))
    one, two, three = (add(store, source).version for source in sources)
    return one, two, three


def test_an_adapter_comes_back_as_it_was_added(store: AdapterStore, tmp_path: Path) -> None:
    added = add(store, trained(tmp_path / "new"), parent="v0009-0123456789ab")
    assert AdapterStore(store.root).get(added.version) == added
    assert store.list() == (added,)
    assert (added.path / "adapter_model.safetensors").read_bytes() == b"weights"
    assert added.version.startswith("v0001-")
    assert added.number == 1


def test_the_stored_record_does_not_depend_on_the_place(
    store: AdapterStore, tmp_path: Path
) -> None:
    added = add(store, trained(tmp_path / "new"))
    moved = store.root.rename(tmp_path / "elsewhere")
    assert AdapterStore(moved).get(added.version).path == moved / added.version
    assert str(tmp_path) not in (moved / added.version / "adapter.json").read_text()


def test_the_hash_is_that_of_names_and_contents(store: AdapterStore, tmp_path: Path) -> None:
    hashes = {
        add(store, trained(tmp_path / "a")).version[-12:],
        add(store, trained(tmp_path / "b")).version[-12:],
        add(store, trained(tmp_path / "c", weights=b"other")).version[-12:],
    }
    renamed = trained(tmp_path / "d")
    (renamed / "notes.json").write_text("{}")
    hashes.add(add(store, renamed).version[-12:])
    assert len(hashes) == 3


def test_an_empty_or_absent_directory_has_no_adapters(store: AdapterStore) -> None:
    assert store.list() == ()
    assert store.live() is None
    assert store.history() == ()
    assert not store.root.exists()


@pytest.mark.parametrize("name", ["adapter_model.bin", "trainer.pt", "optimizer.pkl", "run.py"])
def test_a_file_that_can_carry_code_is_refused(
    store: AdapterStore, tmp_path: Path, name: str
) -> None:
    source = trained(tmp_path / "new")
    (source / name).write_bytes(b"\x80\x04.")
    with pytest.raises(AdapterError, match=name):
        add(store, source)
    assert store.list() == ()


def test_links_and_directories_are_refused(store: AdapterStore, tmp_path: Path) -> None:
    linked = trained(tmp_path / "linked")
    (linked / "more.json").symlink_to("/etc/passwd")
    nested = trained(tmp_path / "nested")
    (nested / "more.json").mkdir()
    for source in (linked, nested):
        with pytest.raises(AdapterError, match=r"more\.json"):
            add(store, source)


def test_a_missing_file_is_named(store: AdapterStore, tmp_path: Path) -> None:
    source = trained(tmp_path / "new")
    (source / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors"):
        add(store, source)
    with pytest.raises(AdapterError, match="nowhere"):
        add(store, tmp_path / "nowhere")


def test_the_model_card_that_peft_writes_is_left_out(store: AdapterStore, tmp_path: Path) -> None:
    source = trained(tmp_path / "new")
    (source / "README.md").write_text("card")
    assert not (add(store, source).path / "README.md").exists()


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_changed_file_is_found_and_the_adapter_named(
    store: AdapterStore, tmp_path: Path, name: str
) -> None:
    added = add(store, trained(tmp_path / "new"))
    assert store.get(added.version) == added
    (added.path / name).write_bytes(b"WEIGHTS")
    with pytest.raises(AdapterError, match=f"{added.version}.*damaged"):
        store.get(added.version)
    with pytest.raises(AdapterError, match=added.version):
        store.promote(added.version, reason="test")
    assert store.live() is None


def test_a_file_that_was_slipped_in_is_found(store: AdapterStore, tmp_path: Path) -> None:
    added = add(store, trained(tmp_path / "new"))
    (added.path / "evil.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(AdapterError, match=r"evil\.bin"):
        store.get(added.version)


def test_a_damaged_record_and_a_renamed_version_are_named(
    store: AdapterStore, three: tuple[str, str, str]
) -> None:
    record = store.root / three[0] / "adapter.json"
    record.write_text(record.read_text()[:40])
    with pytest.raises(AdapterError, match=three[0]):
        store.list()
    (store.root / three[1]).rename(store.root / f"v0099-{three[1][-12:]}")
    with pytest.raises(AdapterError, match=three[1]):
        store.get(f"v0099-{three[1][-12:]}")


@pytest.mark.parametrize("version", ["v0042-0123456789ab", "", "..", "live.json", "v1-xyz/../.."])
def test_an_unknown_version_is_named_with_those_that_exist(
    store: AdapterStore, three: tuple[str, str, str], version: str
) -> None:
    with pytest.raises(AdapterError, match=three[2]):
        store.get(version)


def test_the_number_of_a_removed_adapter_is_not_given_out_again(
    store: AdapterStore, three: tuple[str, str, str], tmp_path: Path
) -> None:
    gone = store.root / three[2]
    for file in gone.iterdir():
        file.unlink()
    gone.rmdir()
    assert add(store, trained(tmp_path / "next")).number == 4


def test_versions_are_listed_by_number_past_four_digits(
    store: AdapterStore, three: tuple[str, str, str], tmp_path: Path
) -> None:
    (store.root / ".last-number").write_text("9998")
    for i in range(2):
        add(store, trained(tmp_path / f"late{i}"))
    assert [adapter.number for adapter in store.list()] == [1, 2, 3, 9999, 10000]


def test_an_adapter_for_another_base_is_refused(
    store: AdapterStore, three: tuple[str, str, str]
) -> None:
    store.promote(three[0], reason="test")
    live = store.live(base_model="tiny")
    assert live is not None
    with pytest.raises(AdapterError, match=r"'tiny'.*'other'"):
        store.live(base_model="other")
    assert store.live(prompt_version="p1") == live
    with pytest.raises(AdapterError, match=r"'p1'.*'p2'.*--from base"):
        store.live(prompt_version="p2")


def test_promotion_and_rollback_walk_back_to_the_base_model(
    store: AdapterStore, three: tuple[str, str, str]
) -> None:
    one, two, _ = three
    store.promote(one, reason="first", who="ada")
    store.promote(two, reason="better", who="ada")
    assert store.live_version() == two
    back = store.rollback(reason="complaints", who="bob")
    assert back is not None
    assert back.version == one == store.live_version()
    assert store.rollback() is None
    assert store.live() is None
    with pytest.raises(AdapterError, match="nothing was live before the base model"):
        store.rollback()
    moves = [(m.number, m.action, m.before, m.after) for m in store.history()]
    assert moves == [
        (1, "promote", None, one),
        (2, "promote", one, two),
        (3, "rollback", two, one),
        (4, "rollback", one, None),
    ]
    assert [(m.who, m.reason) for m in store.history()[:3]] == [
        ("ada", "first"),
        ("ada", "better"),
        ("bob", "complaints"),
    ]


def test_a_promotion_after_a_rollback_returns_to_the_version_it_replaced(
    store: AdapterStore, three: tuple[str, str, str]
) -> None:
    for version in three[:2]:
        store.promote(version, reason="test")
    store.rollback()
    store.promote(three[2], reason="test")
    back = store.rollback()
    assert back is not None
    assert back.version == three[0]


def test_rollback_to_a_damaged_version_moves_nothing(
    store: AdapterStore, three: tuple[str, str, str]
) -> None:
    for version in three[:2]:
        store.promote(version, reason="test")
    (store.root / three[0] / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(AdapterError, match=three[0]):
        store.rollback()
    assert store.live_version() == three[1]


def test_promoting_what_is_live_changes_nothing(
    store: AdapterStore, three: tuple[str, str, str]
) -> None:
    for _ in range(2):
        store.promote(three[0], reason="test")
    assert len(store.history()) == 1
    assert store.rollback() is None


def test_a_promotion_that_was_judged_against_another_version_is_refused(
    store: AdapterStore, three: tuple[str, str, str]
) -> None:
    one, two, third = three
    store.promote(one, reason="test", replacing=None)
    store.promote(two, reason="test")
    with pytest.raises(AdapterError, match=f"{one}.*{two}"):
        store.promote(third, reason="gate", replacing=one)
    assert store.live_version() == two


def test_a_gate_report_beside_an_adapter_leaves_its_hash_alone(
    store: AdapterStore, three: tuple[str, str, str]
) -> None:
    store.attach_gate_report(three[0], '{"outcome": "pass"}')
    report = AdapterStore(store.root).get(three[0]).path / "gate.json"
    assert json.loads(report.read_text()) == {"outcome": "pass"}


def test_what_a_crashed_writer_left_is_ignored_then_removed(
    store: AdapterStore, three: tuple[str, str, str], tmp_path: Path
) -> None:
    trained(store.root / ".staging-dead")
    (store.root / ".tmp-1-live.json").write_text('{"vers')
    assert [adapter.version for adapter in store.list()] == list(three)
    assert store.live() is None
    add(store, trained(tmp_path / "next"))
    assert not list(store.root.glob(".staging-*")) + list(store.root.glob(".tmp-*"))


def test_a_death_between_pointer_and_history_loses_no_move(
    store: AdapterStore, three: tuple[str, str, str]
) -> None:
    store.promote(three[0], reason="first")
    store.promote(three[1], reason="second")
    history = store.root / "history.jsonl"
    whole = history.read_text()
    history.write_text(whole[:-25])  # the second line torn
    assert [move.reason for move in store.history()] == ["first", "second"]
    store.promote(three[2], reason="third")
    assert [move.number for move in store.history()] == [1, 2, 3]
    assert history.read_text().startswith(whole)


def test_a_damaged_pointer_is_an_error_and_not_the_base_model(
    store: AdapterStore, three: tuple[str, str, str]
) -> None:
    store.promote(three[0], reason="test")
    (store.root / "live.json").write_text("{")
    with pytest.raises(AdapterError, match=r"live\.json"):
        store.live()


def test_a_root_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = AdapterStore(tmp_path / "file")
    with pytest.raises(AdapterError, match="file"):
        add(store, trained(tmp_path / "new"))


def test_threads_that_add_at_once_get_numbers_of_their_own(
    store: AdapterStore, tmp_path: Path
) -> None:
    source = trained(tmp_path / "new")
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda _: add(store, source), range(16)))
    assert sorted(adapter.number for adapter in added) == list(range(1, 17))


WRITER = """
import sys
from tooln1_agent.adapters import AdapterStore
store = AdapterStore(sys.argv[1])
print("ready", flush=True)
for _ in range(int(sys.argv[3])):
    added = store.add(sys.argv[2], base_model="tiny", parent=None, prompt_version="p",
                      trained_on={}, config_hash="")
    store.promote(added.version, reason="writer")
    print(added.version, flush=True)
"""


def writer(store: AdapterStore, source: Path, *, times: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WRITER, str(store.root), str(source), str(times)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_processes_that_add_at_once_get_numbers_of_their_own(
    store: AdapterStore, tmp_path: Path
) -> None:
    source = trained(tmp_path / "new")
    writers = [writer(store, source, times=10) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0].split()[1:] for process in writers]
    assert all(process.returncode == 0 for process in writers)
    assert sorted(outputs[0] + outputs[1]) == [adapter.version for adapter in store.list()]
    assert len(set(outputs[0] + outputs[1])) == 20
    assert [move.number for move in store.history()] == list(range(1, 21))


@pytest.mark.slow
def test_a_writer_killed_at_any_instant_leaves_whole_adapters_and_a_sound_pointer(
    store: AdapterStore, tmp_path: Path
) -> None:
    source = trained(tmp_path / "new", weights=bytes(2_000_000))
    promised: set[str] = set()
    for pause_s in (0.0, 0.005, 0.011, 0.02, 0.033, 0.05, 0.08, 0.13):
        process = writer(store, source, times=1000)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(pause_s)
        process.kill()
        promised.update(process.stdout.read().split())
        process.stdout.close()
        process.wait()
        fresh = AdapterStore(store.root)
        kept = {fresh.get(adapter.version).version for adapter in fresh.list()}
        assert promised <= kept
        assert fresh.live_version() in kept | {None}
        assert [m.number for m in fresh.history()] == list(range(1, len(fresh.history()) + 1))
    last = add(store, source)
    assert last.number > max((int(v[1:5]) for v in promised), default=0)
    assert not list(store.root.glob(".staging-*"))
