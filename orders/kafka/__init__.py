"""Kafka as the transport, for those who outgrow one machine; docs/scaling.md and docs/kafka.md tell how.

It carries wake-ups, reports and events. What is true stands in the database all the same, so a message may be lost,
doubled or late: the sweep and the tables make it good.
"""
