"""Whether the service is traced. What that takes is an extra, which is imported only where an endpoint is set."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from redaction import Redaction
from service.log import NAME
from settings import Settings, SettingsError

if TYPE_CHECKING:
    from service.tracing import Tracing

log = logging.getLogger(NAME)
EXPORTERS = {
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "grpc": "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
}
"""By protocol: https://opentelemetry.io/docs/specs/otel/protocol/exporter/"""
NO_PACKAGES = "traces need OpenTelemetry: pip install -r requirements-tracing.txt"
NO_GRPC = "expected http/protobuf; grpc needs pip install opentelemetry-exporter-otlp-proto-grpc"


def tracing(settings: Settings) -> Tracing | None:
    """None where it is not asked for. Raises `SettingsError` where it cannot be.

    Databricks Apps sets the variables itself when somebody switches the app's telemetry on: that may cost the traces,
    and not the app.
    """
    if not settings.traces:
        return None
    try:
        return _made(settings)
    except SettingsError as error:
        if not settings.databricks_app:
            raise
        log.warning("nothing is traced: %s", error)
        return None


def _made(settings: Settings) -> Tracing:
    if settings.traces_exporter != "otlp":
        raise SettingsError("OTEL_TRACES_EXPORTER", "expected otlp or none", settings.traces_exporter)
    own = settings.otlp_traces_endpoint
    endpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" if own else "OTEL_EXPORTER_OTLP_ENDPOINT"
    redact = Redaction(settings.secrets).whole
    exporter = _exporter(settings, endpoint)
    try:
        from service.tracing import Tracing  # where the SDK reads the first of its variables

        return Tracing(exporter.OTLPSpanExporter(), redact)
    except (ValueError, RuntimeError, OSError) as error:
        problem = f"OpenTelemetry cannot be set up ({redact(str(error))})"
        raise SettingsError(endpoint, problem, own or settings.otlp_endpoint) from None


def _exporter(settings: Settings, endpoint: str) -> Any:
    own = settings.otlp_traces_protocol
    name = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL" if own else "OTEL_EXPORTER_OTLP_PROTOCOL"
    protocol = own or settings.otlp_protocol
    if protocol not in EXPORTERS:
        raise SettingsError(name, NO_GRPC, protocol)
    try:
        import_module("opentelemetry.sdk.trace.export")
    except ModuleNotFoundError:
        read = settings.otlp_traces_endpoint or settings.otlp_endpoint
        raise SettingsError(endpoint, NO_PACKAGES, read) from None
    try:
        return import_module(EXPORTERS[protocol])
    except ModuleNotFoundError:
        raise SettingsError(name, NO_GRPC if protocol == "grpc" else NO_PACKAGES, protocol) from None
