"""Fleets over SSH: Ansible and the short scripts of ``deploy``, on machines with a real systemd."""
