"""Units that fail: whose fault it was, in which words, and what becomes of the job."""

from judged import assert_complete, words
from operating import condition, unit_of


def test_out_of_memory_twice_ends_the_unit_and_names_the_field(world, operating, gpu):
    world.extra = 1
    gpu.faults.plan("int8", 137, times=2, container="build")
    world.apply()
    status = world.until("Complete", seconds=90)
    record = unit_of(status, "int8")
    assert (record["state"], record["reason"], record["step"]) == ("Failed", "OOMKilled", "build")
    fix = "raise spec.resources.cpu.limits.memory and start the job again"
    assert record["message"] == f"build was OOMKilled: {fix}; what is finished is not lost"
    assert status["best"]["name"] != "int8"


def test_bad_input_ends_the_unit_at_once_with_the_runners_words(world, operating, gpu):
    message = "spec.candidates[int8].ptq: nothing is left to quantize"
    gpu.faults.plan("int8", 64, container="build", message=words("UserError", message))
    world.apply()
    status = world.until("Complete")
    record = unit_of(status, "int8")
    assert (record["state"], record["reason"], record["message"]) == (
        "Failed",
        "UserError",
        message,
    )
    shown_reason = next(c for c in status["candidates"] if c["name"] == "int8")
    assert (shown_reason["state"], shown_reason["reasons"]) == ("Failed", [f"build: {message}"])


def test_a_bad_model_fails_the_job_and_stalls_it(world, operating, gpu):
    message = "spec.model.uri: the file is no ONNX model: upload it again"
    gpu.faults.plan("prepare", 64, message=words("UserError", message))
    world.apply()
    status = world.until("Failed")
    for kind, value in (("Failed", "True"), ("Stalled", "True"), ("Ready", "False")):
        assert condition(status, kind)["status"] == value
        assert message in condition(status, kind)["message"]
    assert world.calm() == 0


def test_what_may_help_is_tried_again(world, operating, gpu):
    """The Job controller waits 10 s before it does, and twice as long before the next time."""
    world.extra = 1
    text = words("TransientError", "spec.storage: no answer from the server")
    gpu.faults.plan("calibrate", 75, message=text)
    world.apply()
    status = world.until("Complete", seconds=120)
    assert_complete(status)
    assert unit_of(status, "calibrate")["attempt"] == 1
