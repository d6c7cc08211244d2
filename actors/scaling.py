"""Autoscaling: periodiq starts it each minute, it decides every few seconds. `littleq controller actors` runs it."""

from __future__ import annotations

from littleq.autoscale.actor import declare_scaling_actor

decide = declare_scaling_actor()
