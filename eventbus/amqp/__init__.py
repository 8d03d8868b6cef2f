"""AMQP: the only place that knows aio-pika and pamqp."""
