"""The contract that all sides of hikari-relay share: names on the broker, messages, settings, AMQP."""
