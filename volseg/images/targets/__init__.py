"""What may be written where, for every command: a target is checked, made aside, swapped in, and kept in the trash.

`places` says whether a place can be written at all and whether it is a source; `contents` what lies there and whose
it is; `permission` what may be replaced; `replacement` makes the new thing beside the old one and swaps them; `trash`
keeps what was replaced.
"""
