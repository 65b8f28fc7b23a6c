"""The warm Spark Connect server of a root: how it is configured and started."""

import hashlib
import shutil
import sys
from pathlib import Path

from pipelines.local import ports, processes
from pipelines.local.code_version import ROOT, worker_code_version
from pipelines.local.jars import jars, kafka_jars, spark_home
from pipelines.local.java import java_command
from pipelines.local.service_records import Record
from pipelines.settings import Settings, environment

NAME = "spark"
DEFAULT_PORT = 15002
PATIENCE_S = 120.0


def made_for(settings: Settings) -> str:
    """Hash of what a running server cannot change: the code that its workers import, its options and jars."""
    values = (worker_code_version(), settings.spark.model_dump_json(), sys.prefix, bool(settings.lake.topics))
    return hashlib.sha256(repr(values).encode()).hexdigest()[:12]


def launch(settings: Settings) -> Record:
    """Starts the server. Raises UserError for a taken port, or where there is no Java or no jars."""
    java_command()
    port = ports.choose_port("spark.port", settings.spark.port, DEFAULT_PORT)
    log = settings.logs / "spark.log"
    process = processes.start(_command(settings, port), log, _environment(settings), settings.run_folder)
    return Record(NAME, process, port, f"sc://{ports.LOOPBACK}:{port}", str(log), made_for(settings))


def wait(settings: Settings, record: Record) -> None:
    def ready() -> bool:
        return processes.listens(record.process, record.port)

    processes.wait_until_ready("Spark Connect", record.process, ready, Path(record.log), PATIENCE_S)


def _command(settings: Settings, port: int) -> list[str]:
    options = [part for key, value in _conf(settings, port).items() for part in ("--conf", f"{key}={value}")]
    main = ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"]
    memory = ["--master", "local[2]", "--driver-memory", settings.spark.heap]
    return [str(spark_home() / "bin" / "spark-submit"), *memory, *options, *main]


def _conf(settings: Settings, port: int) -> dict[str, str]:
    scratch = settings.run_folder / "spark"
    needed = jars() + (kafka_jars() if settings.lake.topics else [])
    return {
        "spark.jars": ",".join(str(path) for path in needed),
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.connect.grpc.binding.address": ports.LOOPBACK,
        "spark.connect.grpc.binding.port": str(port),
        "spark.driver.host": ports.LOOPBACK,
        "spark.driver.bindAddress": ports.LOOPBACK,
        "spark.log.level": "WARN",
        "spark.connect.session.manager.defaultSessionTimeout": "-1",
        "spark.ui.enabled": "false",
        # plans of what is over: a thousand for a page that is off, and all of five minutes for clients that might come back
        "spark.connect.execute.manager.detachedTimeout": "1m",
        "spark.sql.ui.retainedExecutions": "10",
        "spark.ui.retainedJobs": "10",
        "spark.ui.retainedStages": "10",
        "spark.connect.ui.retainedSessions": "10",
        "spark.connect.ui.retainedStatements": "10",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.databricks.delta.snapshotPartitions": "2",
        # VACUUM lists a table by so many tasks: with the default of 10,000 a table of ten files took half a minute and 3 GB
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "4",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "2000",
        # an hour compiles more classes than the default 100 hold, and would compile them all again in the next
        "spark.sql.codegen.cache.maxEntries": "1000",
        "spark.python.worker.reuse": "true",
        "spark.python.daemon.module": "spark_jobs.worker_daemon",
        "spark.local.dir": str(scratch),
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        # without exit on a full heap the server lives on, answers the port and fails every call; between hours it gives memory back, though
        # not by a tight heap (MaxHeapFreeRatio), which is collected again and again within the hour
        "spark.driver.extraJavaOptions": (
            f'"-Djava.io.tmpdir={scratch}" "-Dderby.system.home={scratch}" -Duser.timezone=UTC '
            "-XX:+ExitOnOutOfMemoryError -XX:+UseG1GC -XX:G1PeriodicGCInterval=30000"
        ),
    } | settings.spark.options


def _environment(settings: Settings) -> dict[str, str]:
    scratch = settings.run_folder / "spark"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    return environment(
        SPARK_HOME=str(spark_home()), SPARK_LOCAL_IP=ports.LOOPBACK, PYSPARK_PYTHON=sys.executable, PYTHONPATH=str(ROOT),
        TMPDIR=str(scratch), LC_ALL="C.UTF-8", OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false",
    )  # fmt: skip
