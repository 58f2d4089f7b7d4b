import pytest
from small_detector import small_detector

from mpj_runner.contract.errors import UserError
from mpj_runner.graph.exclusions import Exclusions, check_op_types
from mpj_runner.graph.head import find_head
from mpj_runner.graph.view import GraphView

VIEW = GraphView(small_detector())


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        pytest.param("stem/Conv$", {"stem/Conv"}, id="one node"),
        pytest.param(
            "stem", {"stem/Conv", "stem/Sigmoid", "stem/Mul"}, id="matched from the start"
        ),
        pytest.param(r".*\.box\.1/Conv", {"head.0.box.1/Conv", "head.1.box.1/Conv"}, id="anywhere"),
    ],
)
def test_patterns_match_as_modelopts_do(pattern, names):
    exclusions = Exclusions(VIEW)
    exclusions.add_patterns([pattern])
    assert set(exclusions.reasons) == names
    assert set(exclusions.reasons.values()) == {f"excluded by the pattern {pattern}"}


@pytest.mark.parametrize(
    ("add", "words"),
    [
        pytest.param(
            lambda x: x.add_patterns(["(head"]),
            r"nodesToExclude: '\(head' is no regular expression",
            id="broken pattern",
        ),
        pytest.param(
            lambda x: x.add_patterns(["Conv"]),
            r"nodesToExclude: 'Conv' matches the start of no node's name .*'stem/Conv'",
            id="pattern without a match",
        ),
        pytest.param(
            lambda x: x.add_op_types(["conv"]),
            r"opTypesToExclude: ONNX has no operator 'conv'; did you mean Conv\?",
            id="misspelt operator",
        ),
        pytest.param(
            lambda x: x.add_op_types(["SiLU"]),
            r"opTypesToExclude: ONNX has no operator 'SiLU'; the graph has Add, .*Concat",
            id="no such operator",
        ),
        pytest.param(
            lambda x: check_op_types(VIEW, ["SiLU"], "spec.candidates[].ptq.opTypesToQuantize"),
            r"spec\.candidates\[\]\.ptq\.opTypesToQuantize",
            id="the field is named",
        ),
    ],
)
def test_what_fits_nothing_is_the_users_to_mend(add, words):
    with pytest.raises(UserError, match=words):
        add(Exclusions(VIEW))


def test_an_operator_that_the_graph_lacks_does_no_harm():
    exclusions = Exclusions(VIEW)
    exclusions.add_op_types(["LSTM", "Softmax"])
    assert set(exclusions.reasons) == {"attn/Softmax", "dfl/Softmax"}


def test_the_first_reason_stays():
    exclusions = Exclusions(VIEW)
    exclusions.add_patterns(["dfl"])
    exclusions.add_head(find_head(VIEW))
    assert exclusions.reasons["dfl/conv/Conv"] == "excluded by the pattern dfl"
    assert exclusions.reasons["head.0.box.1/Conv"] == "output convolution of the head"
    assert exclusions.reasons["decode/Mul"] == "decoding behind the head"


def test_foreign_names_are_passed_over():
    exclusions = Exclusions(VIEW)
    exclusions.add(["stem/Conv", "stem/Conv_cast0"], "why")
    assert exclusions.reasons == {"stem/Conv": "why"}
