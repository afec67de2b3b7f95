"""What a guest is told about itself, over HTTP at 169.254.169.254 and on its config drive.

Contents are pure functions of a `GuestFacts`; `service` and `config_drive` only carry them.
Source for names, versions and shapes: Nova's metadata reference, and what cloud-init asks for.
"""
