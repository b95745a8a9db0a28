"""The scenario format: what is read, what is refused, and how it is said."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.errors import UsageError
from bdn.pbft.simulator.scenario import FOREVER, ScenarioError, parse_scenario, read_scenario

REFERENCE = """
{"replicas": 4, "seed": 7, "request_timeout_ms": 200, "view_timeout_ms": 400,
 "checkpoint_interval": 4, "window": 8,
 "requests": [{"client": "c0", "timestamp": 1, "at_ms": 0, "operation": "a", "to": ["0"]}],
 "network": {"delay_ms": [1, 10], "loss": 0.0, "duplicate": 0.0},
 "twins": ["1"], "silent": [{"replica": "0", "from_ms": 0, "to_ms": 900}],
 "equivocate": [{"replica": "0", "view": 0, "sequence": 1, "groups": [["1"], ["2", "3"]]}],
 "partitions": [{"from_ms": 0, "to_ms": 500, "groups": [["0", "1"], ["1'", "2", "3", "clients"]]}],
 "drop": [{"type": "COMMIT", "from": ["0"], "to": ["1", "2"], "view": 0, "sequence": 1,
           "from_ms": 0, "to_ms": 500, "count": 1}],
 "slow": [{"type": "STATE", "from": ["2"], "to": ["3"], "add_ms": 300}],
 "replay": [{"type": "PRE-PREPARE", "from": "0", "to": ["3"], "view": 0, "sequence": 1,
             "at_ms": 800}],
 "mutate": [{"type": "NEW-VIEW", "from": "1", "to": ["3"], "field": "o-null", "by": 1,
             "resign": true, "count": 1}],
 "suspect": [{"replica": "2", "at_ms": 5, "view": 3}],
 "crash": [{"replica": "1", "at_ms": 50, "restart_ms": 200, "amnesia": false}],
 "heal_at_ms": 5000, "limit_ms": 60000}
"""
LEAST = {"replicas": 4, "requests": []}


def test_the_example_of_the_reference_is_read_whole() -> None:
    """Every key that the reference shows is read, under its name and with its meaning."""
    scenario = parse_scenario(REFERENCE)
    assert scenario.replica_names == ("0", "1", "2", "3", "1'")
    assert scenario.clients == ("c0",)
    assert scenario.byzantine == {"0", "1", "1'"}  # equivocates; has a twin, mutates and re-signs
    assert scenario.partitions[0].groups[1] == ("1'", "2", "3", "clients")
    assert scenario.replay[0].sources == ("0",)
    assert scenario.crash[0].restart_ms == 200


def test_every_key_but_replicas_and_requests_is_optional() -> None:
    """The least file runs on the documented defaults, and rules without times last for ever."""
    scenario = parse_scenario({**LEAST, "silent": [{"replica": "2"}], "drop": [{}]})
    assert (scenario.seed, scenario.window, scenario.heal_at_ms) == (0, 8, None)
    assert scenario.network.delay_ms == (1, 10)
    assert (scenario.silent[0].from_ms, scenario.silent[0].to_ms) == (0, FOREVER)
    assert scenario.drop[0].type is None


def test_window_and_checkpoint_interval_fit_each_other_when_one_is_left_out() -> None:
    """L = 2K (Castro–Liskov, section 4.3)."""
    assert parse_scenario({**LEAST, "checkpoint_interval": 16}).window == 32
    assert parse_scenario({**LEAST, "window": 2}).checkpoint_interval == 1
    assert parse_scenario({**LEAST, "window": 100}).checkpoint_interval == 4


def test_only_amnesia_at_a_restart_makes_a_crash_byzantine() -> None:
    """Whoever restarts with amnesia counts as Byzantine; a plain crash does not."""
    crash = [{"replica": "1", "at_ms": 5, "restart_ms": 9, "amnesia": True},
             {"replica": "2", "at_ms": 5, "restart_ms": 9}]
    assert parse_scenario({**LEAST, "crash": crash}).byzantine == {"1"}


@pytest.mark.parametrize(("change", "complaint"), [
    ({"replica": 4}, 'unknown key "replica"'),
    ({"network": {"loss": 10**400}}, "network.loss: "),
    ({"network": {"loss": float("nan")}}, "network.loss: "),
    ({"limit_ms": -10**400}, "limit_ms: "),
    ({"mutate": [{"from": "x" * 5000}]}, "mutate[0].from: "),
    ({"drop": [{"to": "x" * 5000}]}, "drop[0].to: "),
    ({"drop": [{"typ": "COMMIT"}]}, 'drop[0]: unknown key "typ"'),
    ({"drop": [{"type": "COMIT"}]}, "drop[0].type"),
    ({"replicas": 3}, "replicas: 3"),
    ({"replicas": "four"}, "replicas"),
    ({"replicas": True}, "replicas: true"),
    ({"seed": 1.5}, "seed: 1.5"),
    ({"limit_ms": 0}, "limit_ms"),
    ({"network": {"loss": 2}}, "network.loss"),
    ({"network": {"delay_ms": [5, 1]}}, "network.delay_ms"),
    ({"network": {"delay_ms": 5}}, "network.delay_ms"),
    ({"requests": [{"client": "c0"}]}, 'the key "operation" is missing'),
    ({"requests": [{"client": "0", "operation": "a"}]}, "requests[0].client"),
    ({"requests": [{"client": "c", "operation": "a", "to": ["9"]}]}, "requests[0].to: '9'"),
    ({"twins": ["4"]}, "twins: '4'"),
    ({"twins": ["1", "1"]}, "twins"),
    ({"silent": [{"replica": "1'"}]}, "silent[0].replica: \"1'\""),
    ({"partitions": [{"groups": [["0", "x"]]}]}, "partitions[0].groups[0]: 'x'"),
    ({"partitions": [{}]}, 'partitions[0]: the key "groups" is missing'),
    ({"mutate": [{"field": "colour"}]}, "mutate[0].field"),
    ({"mutate": [{"resign": 1}]}, "mutate[0].resign"),
    ({"crash": [{"replica": "1", "at_ms": 9, "restart_ms": 5}]}, "crash[0].restart_ms"),
    ({"drop": [{"from_ms": 9, "to_ms": 5}]}, "drop[0].to_ms"),
    ({"window": 2, "checkpoint_interval": 4}, "window: 2"),
])
def test_what_is_not_foreseen_is_refused_in_one_line_that_names_the_key(
    change: dict[str, object], complaint: str
) -> None:
    """Unknown keys, wrong types, impossible numbers and unknown nodes."""
    with pytest.raises(ScenarioError) as caught:
        parse_scenario({**LEAST, **change})
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("data", [
    "", "[]", "4", "{", '{"replicas": 4, "replicas": 5, "requests": []}',
    '{"replicas": NaN, "requests": []}', '{"requests": []}', '{"replicas": 4}', "[" * 100_000,
])
def test_a_text_that_is_no_scenario_is_refused(data: str) -> None:
    """Broken JSON, another shape, duplicate keys, NaN, and missing required keys."""
    with pytest.raises(UsageError):
        parse_scenario(data)


def test_a_file_that_cannot_be_read_is_bad_input(tmp_path: Path) -> None:
    """A missing file is the caller's mistake, told in one line."""
    with pytest.raises(ScenarioError, match="cannot read"):
        read_scenario(tmp_path / "absent.json")


def test_a_file_with_a_mistake_is_named_with_the_nearest_key(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({**LEAST, "sed": 1}))
    with pytest.raises(ScenarioError, match=r'bad\.json: unknown key "sed"; did you mean seed\?'):
        read_scenario(path)
    path.write_text("{")
    with pytest.raises(ScenarioError, match=r"bad\.json: not JSON"):
        read_scenario(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from([*sorted(json.loads(REFERENCE)), "x"]), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_any_other_json_is_read_or_refused_but_never_crashes(value: object) -> None:
    """Whatever JSON says, the reader answers with a scenario or a one-line `ScenarioError`."""
    complaint = ""
    try:
        parse_scenario(json.dumps(value))
    except ScenarioError as error:
        complaint = str(error)
    assert "\n" not in complaint
