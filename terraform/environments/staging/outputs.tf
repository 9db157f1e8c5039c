output "api_url" {
  description = "Where clients reach the API."
  value       = module.earwitness.api_url
}

output "events_topic" {
  description = "Id of the topic that other systems subscribe to."
  value       = module.earwitness.events_topic.id
}

output "events_schema" {
  description = "Id of the schema of what is on that topic."
  value       = module.earwitness.events_schema
}

output "uploads_bucket" {
  description = "Name of the bucket where recordings arrive."
  value       = module.earwitness.uploads_bucket.name
}

output "dead_letters_subscription" {
  description = "Name of the subscription that keeps what no function would take."
  value       = module.earwitness.dead_letters_subscription
}
