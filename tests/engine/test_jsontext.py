"""JSON text: what is read can be written again."""

import pytest

from workflows.engine.jsontext import decode, encode


@pytest.mark.parametrize("text", ["NaN", "Infinity", "[-Infinity]", "1e999", '{"a": [-1.5e400]}'])
def test_what_json_or_a_double_does_not_hold_is_refused(text):
    with pytest.raises(ValueError, match=r"is not JSON|beyond"):
        decode(text)


@pytest.mark.parametrize("text", ["1e308", "-0.5", "1e-999", "[1.7976931348623157e+308]"])
def test_every_other_number_is_read_and_can_be_written_again(text):
    assert decode(encode(decode(text))) == decode(text)
