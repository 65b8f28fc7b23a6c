"""What Spark's Kafka source and the broker refuse, as one line that says what to do."""

import re
from collections.abc import Callable, Mapping, Set

from pipelines.errors import TransientError, UserError
from pipelines.settings import Settings, Source
from pipelines.steps.topic_ranges import Range

UNNAMED, BEYOND, LOST = "KAFKA_START_OFFSET_DOES_NOT_MATCH_ASSIGNED", "RESOLVED_START_OFFSET_GREATER_THAN_END_OFFSET", "KAFKA_DATA_LOSS"
_AWAY = ("TimeoutException", "DisconnectException", "No resolvable bootstrap urls", "BrokerNotAvailable", "LeaderNotAvailable")
_REFUSED = ("AuthenticationException", "AuthorizationException", "IllegalSaslState", "ConfigException", "KafkaException", "Kafka option")


def unnamed_partitions(error: Exception, source: Source, named: Set[int]) -> set[int]:
    """Partitions that the topic has beside those that were named, where the source refused for that reason. They count from 0."""
    condition, parameters = _condition(error)
    if condition != UNNAMED:
        return set()
    numbers = re.findall(rf"\b{re.escape(source.topic)}-(\d+)", parameters.get("assignedPartitions", ""))
    return set(range(1 + max(map(int, numbers), default=-1))) - named


def explained(error: Exception, settings: Settings, source: Source, firsts: Callable[[], Mapping[int, int]]) -> Exception:
    """The error in the user's words, or itself. ``firsts``: asks the broker for each partition's first offset."""
    condition, parameters = _condition(error)
    topic, text = f"topic {source.topic} at {source.brokers}", str(error)
    if condition.startswith(LOST) and "startOffset" in parameters:
        return _lost(settings, source, parameters, firsts())
    if condition in (BEYOND, UNNAMED):
        return UserError(
            f"{topic} ends before the offsets that were landed from it: it was made anew, or cut; to take it from its first record on, "
            "give its entry in lake.sources a name that it has not had"
        )
    if "UnknownTopicOrPartitionException" in text:
        return UserError(f"found no {topic}; create it, or mend lake.sources")
    if condition == "DATA_SOURCE_NOT_FOUND" or "Failed to find data source: kafka" in text:
        return UserError("the server at spark.remote has no Kafka source; start it with the package spark-sql-kafka-0-10 of its version")
    if any(word in text for word in _AWAY):
        return TransientError(f"{topic} does not answer: {_reason(text)}; start the broker, or mend brokers and options in lake.sources")
    if any(word in text for word in _REFUSED):
        return UserError(f"{topic} cannot be read: {_reason(text)}; mend the options of its entry in lake.sources")
    return error


def _lost(settings: Settings, source: Source, parameters: Mapping[str, str], firsts: Mapping[int, int]) -> UserError:
    partition, start = int(parameters["topicPartition"].rpartition("-")[2]), int(parameters["startOffset"])
    until = firsts.get(partition, int(parameters["endOffset"]))
    empty = settings.landing / source.kind / Range(partition, start, until).file_name(source, ".jsonl")
    return UserError(
        f"topic {source.topic}, partition {partition}: offsets {start}..{until - 1} were not landed yet and are gone from the broker, "
        f"whose retention is shorter than the time between two pulls; to go on without them: touch {empty}"
    )


def _condition(error: Exception) -> tuple[str, dict[str, str]]:
    """Spark's name for the error and its values; empty for an error that has none."""
    from pyspark.errors import PySparkException

    if not isinstance(error, PySparkException):
        return "", {}
    return error.getCondition() or "", dict(error.getMessageParameters() or {})


def _reason(text: str) -> str:
    """The innermost cause, without its class's package."""
    causes = [line.removeprefix("Caused by: ") for line in text.splitlines() if line.startswith("Caused by: ")]
    first = text.strip().splitlines()[0]
    return re.sub(r"\b([a-z]\w*\.)+(?=[A-Z])", "", causes[-1] if causes else first.rpartition(") ")[2])
