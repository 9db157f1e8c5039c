# Each function that takes events has a subscription of its own, so that one that fails holds up no other.
locals {
  filters = {
    for name, row in var.subscriptions : name => join(" OR ", [for type in row.event_types : "attributes.type = \"${type}\""])
  }
}

resource "google_pubsub_subscription" "push" {
  for_each = var.subscriptions

  project                 = var.project_id
  name                    = "${var.name_prefix}-${replace(each.key, "_", "-")}"
  topic                   = local.topics[each.value.topic]
  labels                  = var.labels
  filter                  = local.filters[each.key] == "" ? null : local.filters[each.key]
  ack_deadline_seconds    = each.value.ack_deadline_s
  enable_message_ordering = true

  push_config {
    push_endpoint = each.value.push_endpoint

    oidc_token {
      service_account_email = var.push_service_account
      audience              = each.value.push_endpoint
    }
  }

  retry_policy {
    minimum_backoff = "${each.value.min_retry_s}s"
    maximum_backoff = "${each.value.max_retry_s}s"
  }

  dead_letter_policy {
    dead_letter_topic     = local.dead_letters_topic
    max_delivery_attempts = each.value.max_delivery_attempts
  }

  # Never: a deployment that nobody uses for a month must still work.
  expiration_policy {
    ttl = ""
  }

  # What is given up must have somewhere to go: a topic without a subscription keeps nothing.
  depends_on = [google_pubsub_topic_iam_member.pubsub_agent_publishes_dead_letters, google_pubsub_subscription.dead_letters]
}
