"""What the settings mean in the core's terms: a section in, the rules out that a decision goes by."""

from __future__ import annotations

from ingestd.config.sections import Brake, Intake, Retry, Settings
from ingestd.core.answers.service_name import service_name
from ingestd.core.batch import BatchRules
from ingestd.core.pace.backoff import RetryRules
from ingestd.core.pace.brake import BrakeRules
from ingestd.core.second_look import SecondLookRules
from ingestd.core.settle import SettleRules

DAY = 86_400.0  # seconds


def retry_rules_of(retry: Retry) -> RetryRules:
    return RetryRules(**retry.model_dump())


def brake_rules_of(brake: Brake) -> BrakeRules:
    return BrakeRules(**brake.model_dump())


def settle_rules_of(intake: Intake) -> SettleRules:
    return SettleRules(
        quiet_seconds=intake.quiet_seconds,
        network_quiet_seconds=intake.network_quiet_seconds,
        incomplete_timeout_seconds=intake.incomplete_timeout_seconds,
        holes_are_zeros=intake.holes == "zeros",
    )


def batch_rules_of(settings: Settings) -> BatchRules:
    batch = settings.batch
    return BatchRules(
        by_study=batch.by == "study",
        max_instances=batch.max_instances,
        max_bytes=batch.max_bytes,
        linger_seconds=batch.linger_seconds,
        max_request_bytes=settings.service.max_request_bytes,
    )


def second_look_rules_of(settings: Settings) -> SecondLookRules:
    return SecondLookRules(after=settings.intake.incomplete_timeout_seconds, remove=settings.done.removes)


def service_name_of(settings: Settings) -> str:
    return service_name(settings.service.url, settings.service.partition)


def seconds_of(days: float | None) -> float | None:
    return days * DAY if days is not None else None
