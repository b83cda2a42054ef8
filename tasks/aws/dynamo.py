"""DynamoDB as the ledger uses it: strong reads, writes bound to a revision, transactions.

An item carries its document as canonical JSON and a revision. A conditional write reads the item,
decides (`tasks.ledger_changes`), and puts it back under the condition that its revision is still
the one that was read: whatever was decided was decided about the item that is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from atelier.contracts.errors import LedgerContention
from tasks.aws.calls import code_of, translated

T = TypeVar("T")
Item = Mapping[str, Any]
"""Plain attributes by name: text, whole numbers; None is left out."""

TURNS = 10
"""So often a write is decided anew before the caller is told of contention."""
MAX_BATCH = 100
MAX_KEY_BYTES = 1024
"""Of a sort key; a partition key may have 2,048."""
_CONFLICTS = frozenset(
    {
        "ConditionalCheckFailedException",
        "TransactionCanceledException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
_LOST = frozenset({"None", "ConditionalCheckFailed", "TransactionConflict"})


class Conflict(Exception):
    """Somebody else wrote the item meanwhile."""


class Dynamo:
    """The few calls that the ledger makes, on plain items."""

    def __init__(self, client: Any) -> None:
        """Bind `boto3.client("dynamodb")`."""
        self._client = client

    def get(self, table: str, key: Item) -> Item | None:
        """Return an item by a strong read, or None, also where no item could have such a key."""
        if not all(1 <= len(str(part).encode()) <= MAX_KEY_BYTES for part in key.values()):
            return None
        with translated("DynamoDB"):
            answer = self._client.get_item(TableName=table, Key=_written(key), ConsistentRead=True)
        return _read(answer["Item"]) if "Item" in answer else None

    def get_all(self, table: str, keys: Sequence[Item]) -> list[Item]:
        """Return the items of these keys that are there, in the order of the keys."""
        found: dict[tuple[Any, ...], Item] = {}
        waiting = [_written(key) for key in keys]
        while waiting:
            asked, waiting = waiting[:MAX_BATCH], waiting[MAX_BATCH:]
            with translated("DynamoDB"):
                answer = self._client.batch_get_item(
                    RequestItems={table: {"Keys": asked, "ConsistentRead": True}}
                )
            for item in map(_read, answer["Responses"].get(table, [])):
                found[tuple(item[name] for name in keys[0])] = item
            waiting += answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
        return [found[at] for at in (tuple(key.values()) for key in keys) if at in found]

    def query(
        self,
        table: str,
        index: str | None,
        partition: tuple[str, str],
        *,
        before: tuple[str, str] | None = None,
        after: tuple[str, str] | None = None,
        newest_first: bool = False,
        page: int = MAX_BATCH,
    ) -> Iterator[list[Item]]:
        """Yield pages of what an index, or the table itself, holds in one partition, in order.

        Args:
            table: its name.
            index: of the table; an index lags behind the table a little.
            partition: attribute and value.
            before: sort attribute and the value that all are below.
            after: sort attribute and the value that all are above; not with `before`.
            newest_first: whether the order is turned round.
            page: items per call.
        """
        bound = before or after
        beyond = " AND #s < :s" if before else " AND #s > :s"
        asked: dict[str, Any] = {
            "TableName": table,
            "KeyConditionExpression": "#p = :p" + (beyond if bound else ""),
            "ExpressionAttributeNames": {"#p": partition[0]} | ({"#s": bound[0]} if bound else {}),
            "ExpressionAttributeValues": _written(
                {":p": partition[1]} | ({":s": bound[1]} if bound else {})
            ),
            "ScanIndexForward": not newest_first,
            "Limit": page,
        }
        asked |= {"IndexName": index} if index else {"ConsistentRead": True}
        while True:
            with translated("DynamoDB"):
                answer = self._client.query(**asked)
            yield [_read(item) for item in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                return
            asked["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def scan(self, table: str, *, after: Item | None, page: int) -> tuple[list[Item], Item | None]:
        """Return a page of a whole table by strong reads, and the key to go on after, or None."""
        asked: dict[str, Any] = {"TableName": table, "ConsistentRead": True, "Limit": page}
        asked |= {"ExclusiveStartKey": _written(after)} if after else {}
        with translated("DynamoDB"):
            answer = self._client.scan(**asked)
        last = answer.get("LastEvaluatedKey")
        return [_read(item) for item in answer["Items"]], _read(last) if last else None

    def write(self, *writes: Mapping[str, Any]) -> None:
        """Make all these puts or none.

        Raises:
            Conflict: a condition does not hold, or another transaction has an item.
        """
        with translated("DynamoDB"):
            try:
                if len(writes) == 1:
                    self._client.put_item(**writes[0]["Put"])
                else:
                    self._client.transact_write_items(TransactItems=list(writes))
            except ClientError as problem:
                reasons = problem.response.get("CancellationReasons", [])
                lost = all(reason.get("Code", "None") in _LOST for reason in reasons)
                if code_of(problem) in _CONFLICTS and lost:
                    raise Conflict from problem
                raise


def put(table: str, item: Item, *, replacing: Item | None) -> Mapping[str, Any]:
    """Return the write of a whole item in place of `replacing`, or where there is none.

    The item gets the next revision.
    """
    revision = int(replacing["revision"]) if replacing else 0
    asked: dict[str, Any] = {
        "TableName": table,
        "Item": _written({**item, "revision": revision + 1}),
        "ConditionExpression": "attribute_not_exists(revision)",
    }
    if replacing:
        asked["ConditionExpression"] = "revision = :seen"
        asked["ExpressionAttributeValues"] = _written({":seen": revision})
    return {"Put": asked}


def until_written(what: str, turn: Callable[[], T]) -> T:
    """Decide and write, again while others are faster.

    Raises:
        LedgerContention: they always were.
    """
    for _ in range(TURNS):
        try:
            return turn()
        except Conflict:
            continue
    raise LedgerContention(f"{what}: others wrote it {TURNS} times in a row", item=what)


def _written(item: Item) -> dict[str, Any]:
    return {
        name: {"N": str(value)} if isinstance(value, int) else {"S": str(value)}
        for name, value in item.items()
        if value is not None
    }


def _read(item: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    return {name: int(value["N"]) if "N" in value else value["S"] for name, value in item.items()}
