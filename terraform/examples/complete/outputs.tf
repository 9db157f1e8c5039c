output "api_url" {
  description = "Where clients reach the API."
  value       = module.earwitness.api_url
}

output "domain_ip_address" {
  description = "Address that an A record of the API's domain must name."
  value       = module.earwitness.domain_ip_address
}

output "events_topic" {
  description = "Id of the topic that other systems subscribe to."
  value       = module.earwitness.events_topic.id
}

output "events_schema" {
  description = "Id of the schema of what is on that topic."
  value       = module.earwitness.events_schema
}

output "dead_letters_subscription" {
  description = "Name of the subscription that keeps what no function would take."
  value       = module.earwitness.dead_letters_subscription
}
