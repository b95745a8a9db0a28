"""The benchmarks, in the order in which they run and appear on the results page."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """One benchmark, ``benchmarks/NAME.py``.

    Attributes:
        name: the file's, without its ending; also the JSON's and the plot's.
        place: what of the paper it answers; empty for a cost table of our own.
        paper: what the paper gives there in numbers, in our words.
    """

    name: str
    place: str = ""
    paper: str = ""


TOPICS = (
    Topic("precision", "Fig. 3",
          "Bars, of which the text gives no values. Setting: 2,745 VOC instances for each "
          "Raspberry Pi, 5 and 10 of them, λ = 0.5, one epoch, 1,500 iterations."),
    Topic("latency", "Fig. 4a",
          "A curve from 5 to 10 Raspberry Pis, of which the text gives no values; it “increases "
          "inconspicuously”."),
    Topic("similarity", "Fig. 4b",
          "A falling curve over a “calculation level” that is not defined; the text gives no "
          "values."),
    Topic("roles", "Fig. 5",
          "With BlockDeepNet, additional CPU of 3.1 to 4.3 and memory of 11 to 14.7; without, "
          "1.1 to 2.1 and 5.8 to 8.1. The text gives no units, and both pairs for edge server and "
          "devices together."),
    Topic("table_one", "Table 1", "Qualitative; no numbers."),
    Topic("accuracy"), Topic("sealing"), Topic("norm_proof"), Topic("norm_bound"),
    Topic("paillier"),
    Topic("contracts"), Topic("mining"),
    Topic("learning"), Topic("own_model"), Topic("voc"), Topic("ledger"), Topic("pbft"),
    Topic("pbft_liveness"), Topic("ethereum"),
)  # fmt: skip


def by_name() -> dict[str, Topic]:
    """The topics by their names."""
    return {topic.name: topic for topic in TOPICS}
