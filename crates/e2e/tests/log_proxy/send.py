"""Sends three records with a real client. Usage: send.py CLIENT HOST PORT TOKEN"""

import logging
import sys

client, host, port, token = sys.argv[1:5]
port = int(port)


def opentelemetry():
    from opentelemetry._logs import set_logger_provider
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.resources import Resource

    provider = LoggerProvider(resource=Resource.create({"service.name": "by-opentelemetry"}))
    set_logger_provider(provider)
    exporter = OTLPLogExporter(
        endpoint=f"http://{host}:{port}/v1/logs", headers={"Authorization": f"Bearer {token}"}
    )
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    log = logging.getLogger("sender")
    log.setLevel(logging.INFO)
    log.addHandler(LoggingHandler(logger_provider=provider))
    for n in range(3):
        log.warning("record %d", n, extra={"n": n})
    provider.shutdown()


def elasticsearch():
    from elasticsearch import Elasticsearch, helpers

    es = Elasticsearch(f"http://{host}:{port}", bearer_auth=token, max_retries=0)
    assert es.info()["tagline"] == "You Know, for Search"
    documents = (
        {"_index": "by-elasticsearch", "_op_type": "create", "message": f"record {n}", "level": "warn", "n": n}
        for n in range(3)
    )
    done, errors = helpers.bulk(es, documents)
    assert (done, errors) == (3, []), (done, errors)
    done, errors = helpers.bulk(
        es, [{"_op_type": "delete", "_index": "by-elasticsearch", "_id": "1"}], raise_on_error=False
    )
    assert done == 0 and errors[0]["delete"]["status"] == 400, errors


def fluent():
    from fluent import sender

    log = sender.FluentSender("by-fluent", host=host, port=port, timeout=10.0)
    for n in range(3):
        assert log.emit(None, {"message": f"record {n}", "level": "warn", "n": n}), log.last_error
    log.close()


def loki():
    import logging_loki

    handler = logging_loki.LokiHandler(
        url=f"http://{host}:{port}/loki/api/v1/push",
        tags={"app": "by-loki"},
        auth=("anybody", token),
        version="1",
    )

    def failed(record):
        raise

    handler.handleError = failed
    log = logging.getLogger("sender")
    log.addHandler(handler)
    for n in range(3):
        log.warning("record %d", n, extra={"tags": {"n": str(n)}})


{"opentelemetry": opentelemetry, "elasticsearch": elasticsearch, "fluent": fluent, "loki": loki}[client]()
