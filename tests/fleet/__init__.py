"""Booted systemd machines on the lab's internet, installed from the signed apt repository."""
