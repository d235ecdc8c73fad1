"""Settings: which source wins, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tooln1_agent.config import ENV_PREFIX, ServeConfig, load_config, load_gate_config
from tooln1_agent.errors import ConfigError
from tooln1_agent.gate import GateConfig

SECRET = "a-secret-of-enough-letters"


@pytest.fixture(autouse=True)
def _nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ServeConfig.model_fields:
        monkeypatch.delenv(ENV_PREFIX + name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "tooln1.toml") -> Path:
    Path(name).write_text(text)
    return Path(name)


def test_flags_win_over_the_environment_over_the_file_over_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("[serve]\nport = 1\nmax_tools = 2\nmax_messages = 3\n")
    monkeypatch.setenv("TOOLN1_PORT", "11")
    monkeypatch.setenv("TOOLN1_MAX_TOOLS", "12")
    config = load_config({"port": 21, "host": None})
    assert (config.port, config.max_tools, config.max_messages) == (21, 12, 3)
    assert config.host == "127.0.0.1"


def test_the_file_can_be_named_by_flag_and_by_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[serve]\nport = 1\n")
    other = write("[serve]\nport = 2\n", "other.toml")
    assert load_config().port == 1
    assert load_config(file=other).port == 2
    monkeypatch.setenv("TOOLN1_CONFIG", "other.toml")
    assert load_config().port == 2


def test_lists_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLN1_ALLOWED_HOSTS", '["a", "b"]')
    assert load_config().allowed_hosts == ("a", "b")
    monkeypatch.setenv("TOOLN1_ALLOWED_HOSTS", "a,b")
    with pytest.raises(ConfigError, match="JSON"):
        load_config()


def test_keys_are_read_from_the_file_and_from_a_file_of_their_own() -> None:
    write(f'[[api_keys]]\nname = "bob"\nsecret = "{SECRET}"\nrights = ["admin"]\n', "keys.toml")
    write(
        'serve.api_key_file = "keys.toml"\n'
        f'[[serve.api_keys]]\nname = "ada"\nsha256 = "{"0" * 64}"\n'
    )
    config = load_config({"host": "0.0.0.0"})
    assert [key.name for key in config.api_keys] == ["ada", "bob"]
    assert config.api_keys[1].rights == ("admin",)
    assert config.host == "0.0.0.0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[serve]\nprot = 1\n", "setting 'prot' does not exist; did you mean 'port'?"),
        ("[serv]\nport = 1\n", "table 'serv' does not exist; did you mean 'serve'?"),
        ("[serve]\nport = 70000\n", "port: "),
        ('[serve]\nport = "high"\n', "port: "),
        ("[serve\n", "not valid TOML"),
        ('[serve]\nhost = "0.0.0.0"\n', "no API key is configured"),
        ('serve.api_key_file = "no-such.toml"\n', "cannot read 'no-such.toml'"),
        ('[[serve.api_keys]]\nname = "ada"\n', "exactly one of 'secret' and 'sha256'"),
        (f'[[serve.api_keys]]\nname = "ada"\nsecret = "{SECRET}"\nrigths = []\n', "rigths"),
        (2 * f'[[serve.api_keys]]\nname = "ada"\nsecret = "{SECRET}"\n', "more than once"),
        ('serve = "yes"\n', "must be a table"),
    ],
)
def test_a_wrong_file_is_refused_by_the_name_of_what_is_wrong(text: str, said: str) -> None:
    write(text)
    with pytest.raises(ConfigError) as caught:
        load_config()
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_file_that_is_named_must_exist() -> None:
    with pytest.raises(ConfigError, match=r"cannot read 'none\.toml'"):
        load_config(file=Path("none.toml"))


def test_a_key_file_without_keys_is_refused() -> None:
    write("", "keys.toml")
    with pytest.raises(ConfigError, match=r"holds no \[\[api_keys\]\]"):
        load_config({"api_key_file": Path("keys.toml")})


def test_a_misspelt_variable_is_refused_and_a_foreign_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOOLN1_SOMETHING_ELSE", "1")
    load_config()
    monkeypatch.setenv("TOOLN1_CONTEXT_LIMITS", "512")
    with pytest.raises(ConfigError, match="did you mean 'TOOLN1_CONTEXT_LIMIT'"):
        load_config()


def test_an_unknown_flag_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'adapters'"):
        load_config({"adapter": "x"})


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.7", False),
        ("box.internal", False),
    ],
)
def test_only_loopback_is_served_without_keys(host: str, is_loopback: bool) -> None:
    given: dict[str, Any] = {"host": host}
    if is_loopback:
        assert load_config(given).is_loopback
    else:
        with pytest.raises(ConfigError, match="no API key"):
            load_config(given)
        assert load_config({**given, "insecure": True}).host == host


def test_every_setting_explains_itself() -> None:
    assert [name for name, field in ServeConfig.model_fields.items() if not field.description] == []


def test_every_setting_is_in_the_docs() -> None:
    docs = Path(__file__).parents[2] / "docs" / "configuration.md"
    text = docs.read_text(encoding="utf-8")
    rows = {name: f"| `{name}` |" in text for name in ServeConfig.model_fields}
    assert [name for name, is_there in rows.items() if not is_there] == []


def test_the_gate_is_set_up_by_its_own_table() -> None:
    assert load_gate_config() == GateConfig()
    write('[serve]\nport = 1\n[gate]\ncall_margin = 0.01\nmust_pass = ["e1"]\n')
    assert load_gate_config() == GateConfig(call_margin=0.01, must_pass=("e1",))
    write("[gate]\nmin_examples = 7\n", "other.toml")
    assert load_gate_config(Path("other.toml")) == GateConfig(min_examples=7)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[gate]\ncal_margin = 0.1\n", "did you mean 'call_margin'?"),
        ("[gate]\nalpha = 0.9\n", "alpha: "),
        ("[retrian]\nsteps = 3\n", "table 'retrian' does not exist"),
    ],
)
def test_a_wrong_gate_table_is_refused(text: str, said: str) -> None:
    write(text)
    with pytest.raises(ConfigError) as caught:
        load_gate_config()
    assert said in str(caught.value)
