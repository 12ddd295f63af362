"""What the plots of a page draw, and that a colour or a dash means one thing."""

import re
from importlib.resources import files
from xml.etree import ElementTree

import msgspec
import pytest

pytest.importorskip("hdrh", reason="the extra `load` is not installed")

from relay.loadgen.report.histogram import Histogram, Quantiles
from relay.loadgen.report.plots import Plot, plots, process_colours
from relay.loadgen.report.record import Interval, Load, Outcome
from relay.loadgen.traffic.plan import MEASURE, WARM_UP
from relay.loadgen.verify.tally import ACK, DELIVERY, LATENCIES, LOGIN_TIME, RECEIPT, Counts
from tests.loadgen.report.records import load, outcome

MESSAGES = {"sent", "complete", "delivered"}


def eventful(*, processes: int = 3) -> Outcome:
    """Ten seconds in which every latency was measured, after two of warm-up."""
    histogram = Histogram()
    histogram.record(list(range(1000, 2000)))
    timeline = [
        Interval(
            phase=WARM_UP if second < 2 else MEASURE,
            ends_s=1.0 + second,
            seconds=1.0,
            counts=Counts(sent=10, completed=10, delivered=10),
            latencies={} if second < 2 else dict.fromkeys(LATENCIES, Quantiles(1.0, 5.0, 9.0)),
            loads=[load("front", 0.5, number) for number in range(processes)],
            online=2,
            faults=0,
        )
        for second in range(12)
    ]
    return msgspec.structs.replace(
        outcome("relay", 60.0),
        timeline=timeline,
        curves=dict.fromkeys(LATENCIES, histogram.curve()),
    )


def drawn(one: Outcome) -> dict[str, Plot]:
    return {plot.title: plot for plot in plots(one, process_colours([one]))}


def test_latency_over_time_is_p50_solid_and_p99_dashed_of_two_latencies() -> None:
    plot = drawn(eventful())["Latency over time, ms"]

    assert [(line.name, line.is_dashed) for line in plot.lines] == [
        (f"{ACK} p50", False),
        (f"{ACK} p99", True),
        (f"{DELIVERY} p50", False),
        (f"{DELIVERY} p99", True),
    ]
    # and that is how they are drawn
    dashes = {
        int(number): "dasharray" in style
        for number, style in re.findall(r"\.serie-(\d+)\{(stroke-[^}]*)\}", plot.svg)
    }
    assert [dashes.get(number, False) for number in range(4)] == [False, True, False, True]


def test_logins_are_shown_over_time_where_there_is_nothing_else() -> None:
    timeline = [
        msgspec.structs.replace(each, latencies={LOGIN_TIME: Quantiles(1.0, 2.0, 3.0)})
        for each in eventful().timeline
    ]
    plot = drawn(msgspec.structs.replace(eventful(), timeline=timeline))["Latency over time, ms"]

    assert [line.name for line in plot.lines] == [f"{LOGIN_TIME} p50", f"{LOGIN_TIME} p99"]


def test_no_colour_stands_for_two_things_in_a_plot() -> None:
    for plot in drawn(eventful(processes=8)).values():
        meaning: dict[str, set[str]] = {}
        for line in plot.lines:
            name = line.name.removesuffix(" p50").removesuffix(" p99")
            meaning.setdefault(line.colour, set()).add(name)
        assert [names for names in meaning.values() if len(names) > 1] == []


def test_processes_have_colours_of_their_own_and_keep_them_from_plot_to_plot() -> None:
    made = drawn(eventful())

    cpu = {line.name: line.colour for line in made["CPUs busy"].lines}
    memory = {line.name: line.colour for line in made["Private memory, MiB"].lines}
    others = {line.colour for plot in made.values() for line in plot.lines if line.name not in cpu}
    assert cpu == memory
    assert len(set(cpu.values())) == 3
    assert not others & set(cpu.values())


def test_an_event_and_the_latency_that_ends_with_it_share_a_colour() -> None:
    made = drawn(eventful())

    rates = {line.name: line.colour for line in made["Throughput, a second"].lines}
    curves = {line.name: line.colour for line in made["Latency distribution, ms"].lines}
    assert rates.keys() == MESSAGES
    assert rates["delivered"] == curves[DELIVERY]
    assert rates["complete"] == curves[RECEIPT]


def test_more_processes_than_colours_are_drawn_by_role() -> None:
    one = eventful(processes=9)
    [line] = drawn(one)["CPUs busy"].lines

    assert line.name == "front, all"
    assert line.points[0][1] == pytest.approx(4.5)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_the_page_defines_every_colour(scheme: int) -> None:
    page = files("relay.loadgen.report").joinpath("templates/page.html").read_text()
    defined = re.findall(r"--([a-z]+-\d): (#[0-9a-f]{6})", page)
    half = len(defined) // 2
    colours = dict(defined[scheme * half : (scheme + 1) * half])

    made = plots(eventful(processes=8), process_colours([eventful(processes=8)]))
    used = {line.colour for plot in made for line in plot.lines}
    assert used <= colours.keys()
    assert len(set(colours.values())) == len(colours) == 16


def test_the_warm_up_is_shaded_over_its_time() -> None:
    for title, plot in drawn(eventful()).items():
        svg = ElementTree.fromstring(plot.svg)
        shades = [each for each in svg.iter() if each.get("class") == "shade"]
        if title == "Latency distribution, ms":
            assert not plot.has_warm_up
            assert shades == []
            continue
        assert plot.has_warm_up
        [shade] = shades
        [box] = [each for each in svg.iter() if each.get("class") == "plot"]
        background = next(each for each in box if each.get("class") == "background")
        width = float(background.get("width", 0))
        # two seconds of twelve, from the first on
        assert float(shade.get("x", -1)) == pytest.approx(0.02 * width, abs=0.02 * width)
        assert float(shade.get("width", 0)) == pytest.approx(width / 6, rel=0.08)


def test_a_run_without_a_warm_up_has_no_shade() -> None:
    timeline = [each for each in eventful().timeline if each.phase != WARM_UP]

    for plot in drawn(msgspec.structs.replace(eventful(), timeline=timeline)).values():
        assert not plot.has_warm_up
        assert 'class="shade"' not in plot.svg


def test_what_a_role_did_is_the_sum_of_its_processes() -> None:
    loads = [
        Load("worker", "worker 0", 0.25, 1, 1, 2**20),
        Load("worker", "worker 1", 0.5, 1, 1, 0),
    ]
    timeline = [
        msgspec.structs.replace(each, loads=loads, seconds=0.5) for each in eventful().timeline
    ]
    one = msgspec.structs.replace(eventful(), timeline=timeline)

    made = {plot.title: plot for plot in plots(one, {"worker": "process-0"})}
    assert made["CPUs busy"].lines[0].points[0][1] == pytest.approx(1.5)
    assert made["Private memory, MiB"].lines[0].points[0][1] == pytest.approx(1.0)
