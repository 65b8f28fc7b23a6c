"""The catalogue: its current state, and the text that stands for an item."""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F


def current_items(items: DataFrame) -> DataFrame:
    """The last row of each item's history."""
    newest = Window.partitionBy("item_id").orderBy(F.desc("updated_hour"))
    return items.withColumn("newest", F.row_number().over(newest)).where("newest = 1").drop("newest")


def item_text() -> Column:
    """What the encoder reads: the text where there is one, else the title."""
    return F.when(F.length(F.trim("text")) > 0, F.trim("text")).otherwise(F.col("title"))


def with_text_hash(items: DataFrame) -> DataFrame:
    """Adds ``encoder_text`` and ``text_hash``, by which an unchanged text is known."""
    texts = items.withColumn("encoder_text", item_text())
    return texts.withColumn("text_hash", F.substring(F.sha2("encoder_text", 256), 1, 32))


def only_changed(items: DataFrame, embeddings: DataFrame, encoder_version: str) -> DataFrame:
    """Items whose text this encoder version has not encoded yet."""
    held = embeddings.where(F.col("encoder_version") == encoder_version).select("item_id", "text_hash")
    return items.join(held, on=["item_id", "text_hash"], how="left_anti")
