"""The embedded engine: the one place of this package that imports torch and transformers.

The way of a request: `engine` writes its prompt in ids and hears what is said, `worker` is the
thread, `scheduler` decides whose turn it is. `prefill` computes the prompt, as far as `segments`
does not know it; then the request is a row of a `decoder`, which feeds each row's newest token to a
`batch`, where `attention` reads what rows share once, and `drawing` draws the next. The trainer
goes the same way without scheduler and thread, by `generate`.
"""
