"""What is wrong with people's settings is said with file, field, value and reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from fedvoice.protocol.errors import ErrorCode, FedvoiceError
from fedvoice.protocol.settings import read_toml, wrong_field


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int


class Outer(BaseModel):
    inner: Inner
    low: int = 0
    high: int = 1

    @model_validator(mode="after")
    def _ordered(self) -> Outer:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


def refused(fields: dict[str, Any]) -> FedvoiceError:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(fields)
    return wrong_field("x.toml", caught.value, wanted="a setting", next_step="Mend it.")


def test_a_wrong_value_is_named_with_its_field() -> None:
    error = refused({"inner": {"size": "many"}})
    assert (error.code, error.where) == (ErrorCode.BAD_CONFIG, "x.toml, field inner.size")
    assert error.got.startswith("many (Input should be a valid integer")
    assert (error.wanted, error.next_step) == ("a setting", "Mend it.")
    assert refused({"inner": {"size": 1, "sise": 2}}).where == "x.toml, field inner.sise"
    assert len(refused({"inner": {"size": "9" * 1000 + "x"}}).got) < 200


def test_what_is_not_one_value_is_named_without_all_that_stands_around_it() -> None:
    missing = refused({"inner": {}})
    assert (missing.where, missing.got) == ("x.toml, field inner.size", "Field required")
    together = refused({"inner": {"size": 1}, "low": 3})
    assert (together.where, together.got) == (
        "x.toml, as a whole",
        "Value error, low is above high",
    )


def test_an_error_may_have_another_code() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate_json(b"{ no json")
    error = wrong_field(
        "task.json", caught.value, wanted="", next_step="", code=ErrorCode.BAD_PACKAGE
    )
    assert (error.code, error.where) == (ErrorCode.BAD_PACKAGE, "task.json, as a whole")
    assert "no json" not in error.got


def test_a_file_that_is_not_there_or_no_toml(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    with pytest.raises(FedvoiceError) as caught:
        read_toml(path, wanted="a fleet's file", next_step="Write one.")
    error = caught.value
    assert (error.code, error.where) == (ErrorCode.NOT_FOUND, str(path))
    assert (error.wanted, error.next_step) == ("a fleet's file", "Write one.")
    for wrong in (b"a = 1\nb = = 2", b"\xff\xfe"):
        path.write_bytes(wrong)
        with pytest.raises(FedvoiceError) as caught:
            read_toml(path, wanted="a fleet's file", next_step="Write one.")
        assert (caught.value.code, caught.value.where) == (ErrorCode.BAD_CONFIG, str(path))
    path.write_text("a = { b = 1 }")
    assert read_toml(path, wanted="", next_step="") == {"a": {"b": 1}}
