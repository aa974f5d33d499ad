"""Fixtures of the whole suite."""

from __future__ import annotations

from shift_assets_tests.spark import spark_server

__all__ = ["spark_server"]
