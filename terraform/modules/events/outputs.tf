output "events_topic" {
  description = "The topic that every event is published to: its path and its name. Subscribe here to hear of jobs."
  value = {
    id   = local.topics.events
    name = google_pubsub_topic.events.name
  }
}

output "deliveries_topic" {
  description = "The topic of single attempts at webhooks: its path and its name."
  value = {
    id   = local.topics.deliveries
    name = google_pubsub_topic.deliveries.name
  }
}

output "dead_letters_topic" {
  description = "The topic that Pub/Sub publishes to what no function would take: its path and its name."
  value = {
    id   = local.dead_letters_topic
    name = google_pubsub_topic.dead_letters.name
  }
}

output "dead_letters_subscription" {
  description = "Name of the subscription that keeps dead letters."
  value       = google_pubsub_subscription.dead_letters.name
}

output "schema" {
  description = "Path of the schema of events, for those who check what they read; null if there is none."
  value       = local.schema
}

output "subscriptions" {
  description = "Paths of the push subscriptions, by the names they were given under."
  value       = { for name, subscription in google_pubsub_subscription.push : name => "projects/${var.project_id}/subscriptions/${subscription.name}" }
}
