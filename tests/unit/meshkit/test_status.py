from datetime import timedelta

from google.rpc import error_details_pb2

from meshkit import errors, status


def kinds(kind):
    for sub in kind.__subclasses__():
        if sub.__subclasses__():
            yield from kinds(sub)
        else:
            yield sub


def test_every_error_has_a_status_code():
    assert set(kinds(errors.MeshError)) == set(status.CODES)


def test_the_reason_and_what_changes_travel_as_error_info():
    told = status.to_status(errors.NotFound("SPACE_NOT_FOUND", "No such space.", space="a/b"))

    info = error_details_pb2.ErrorInfo()
    assert told.details[0].Unpack(info)
    assert (info.reason, info.domain, dict(info.metadata)) == (
        "SPACE_NOT_FOUND",
        "aerofusion",
        {"space": "a/b"},
    )


def test_bad_fields_are_named():
    told = status.to_status(
        errors.InvalidInput("INVALID", "Bad.", field_violations={"a.b": "too long"})
    )

    bad = error_details_pb2.BadRequest()
    assert told.details[1].Unpack(bad)
    assert [(v.field, v.description) for v in bad.field_violations] == [("a.b", "too long")]


def test_whoever_must_wait_is_told_how_long():
    told = status.to_status(
        errors.Overloaded("QUEUE_FULL", "Full.", retry_after=timedelta(seconds=5))
    )

    retry = error_details_pb2.RetryInfo()
    assert told.details[1].Unpack(retry)
    assert retry.retry_delay.ToTimedelta() == timedelta(seconds=5)


def test_a_special_case_of_an_error_has_its_kinds_code():
    class SpaceFull(errors.Overloaded):
        pass

    assert status.code_of(SpaceFull("SPACE_FULL", "Full.")) is status.CODES[errors.Overloaded]
