"""The SKUs of commitment plans, as recorded in 2016 and 2017: quantities, meters and limits.

A SKU's quantities are the same for every capacity (recorded: S2 with capacity 2 and 10).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from reconciler.emulator.resource_manager import regions

Json = Any
TIER: Final = "Standard"
LEAST_CAPACITY: Final = 1
MOST_CAPACITY: Final = 10
_NO_METER: Final = "00000000-0000-0000-0000-000000000000"
_HOURS_METER: Final = "29187de1-b4a1-4503-a6f6-078271b3fc9d"
_TRANSACTIONS_METER: Final = "303743b6-4cd0-44df-8ec2-a93c8f14943b"


@dataclass(frozen=True)
class Sku:
    """One SKU: what a plan includes in a period of `refill_days`, and the meters of its usage.

    Each pair of meters is that of included quantities and that of overage.
    """

    name: str
    hours: float
    transactions: float
    plan_meter: str
    hours_meters: tuple[str, str]
    transactions_meters: tuple[str, str]
    refill_days: int = 30
    charges_overage: bool = True
    charges_plan: bool = True

    def describe_plan(self, created: str, *, full: bool) -> dict[str, Json]:
        """Return the properties of a plan; `full` says that its quantities are not used up."""
        return {
            "chargeForOverage": self.charges_overage,
            "chargeForPlan": self.charges_plan,
            "creationDate": created,
            "includedQuantities": {
                f"machineLearningWebService{name}": {
                    "allowance": allowance,
                    "amount": allowance if full else 0.0,
                    "includedQuantityMeter": included,
                    "overageMeter": overage,
                }
                for name, allowance, (included, overage) in (
                    ("ComputeHours", self.hours, self.hours_meters),
                    ("Transactions", self.transactions, self.transactions_meters),
                )
            },
            "maxAssociationLimit": 10000,
            "maxCapacityLimit": MOST_CAPACITY,
            "minCapacityLimit": LEAST_CAPACITY,
            "planMeter": self.plan_meter,
            "refillFrequencyInDays": self.refill_days,
            "suspendPlanOnOverage": not self.charges_overage,
        }

    def describe(self) -> dict[str, Json]:
        """Return the item of the list of SKUs; only its shape is documented."""
        quantities = {"ComputeHours": self.hours, "Transactions": self.transactions}
        return {
            "capabilities": [
                {"name": f"included{name}", "value": f"{quantity:g}"}
                for name, quantity in quantities.items()
            ],
            "capacity": {
                "default": LEAST_CAPACITY,
                "maximum": MOST_CAPACITY,
                "minimum": LEAST_CAPACITY,
                "scaleType": "Manual",
            },
            "costs": [
                {
                    "extendedUnit": f"{self.refill_days} days",
                    "meterID": self.plan_meter,
                    "quantity": 1,
                }
            ],
            "locations": list(regions.LOCATIONS),
            "name": self.name,
            "resourceType": "commitmentPlans",
            "restrictions": [],
            "tier": TIER,
        }


_FREE_OVERAGE: Final = (
    "15fb14e6-ece4-4981-a179-2bc796d0b65b",
    "c7cf66fb-bcc3-4ee2-b81b-160bcf6c6a14",
)
SKUS: Final = (
    Sku(
        "S1",
        25.0,
        100_000.0,
        "4a5a4b83-6216-47c5-b3db-fe430fa6e2c3",
        (_HOURS_METER, "842f92f7-a46b-4522-ac62-8134271dc591"),
        (_TRANSACTIONS_METER, "c906e161-98b8-41b1-81e2-b59e0b263740"),
    ),
    Sku(
        "S2",
        500.0,
        2_000_000.0,
        "0242cdc7-456a-4024-a1d5-f00b54f37b76",
        (_HOURS_METER, "e5921380-3088-471a-ae87-a47cc97e98dc"),
        (_TRANSACTIONS_METER, "96328029-e3da-49d7-bba1-48ef64f13ff1"),
    ),
    Sku(
        "DevTest",
        2.0,
        1_000.0,
        _NO_METER,
        (_HOURS_METER, _FREE_OVERAGE[0]),
        (_TRANSACTIONS_METER, _FREE_OVERAGE[1]),
        charges_overage=False,
        charges_plan=False,
    ),
    Sku(
        "PAYG",
        0.0,
        0.0,
        _NO_METER,
        (_NO_METER, _FREE_OVERAGE[0]),
        (_NO_METER, _FREE_OVERAGE[1]),
        refill_days=1,
        charges_plan=False,
    ),
)


def find_sku(name: Json) -> Sku | None:
    """Return the SKU of a name in any case; None for a name that was never recorded."""
    return next((one for one in SKUS if str(name).casefold() == one.name.casefold()), None)
