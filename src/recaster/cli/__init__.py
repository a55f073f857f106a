"""The command `recast`: one file per verb, no logic of its own."""
