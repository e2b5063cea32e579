//! The forwarder role: alerts to the webhook within the shared rate limit.
