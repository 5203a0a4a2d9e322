"""Kafka as the transport, for installations that outgrow one machine; see docs/scaling.md and docs/kafka.md.

It carries wake-ups, reports and events. The database remains the truth, so a message may be lost, doubled or late: the sweep
and the tables make up for it.
"""
