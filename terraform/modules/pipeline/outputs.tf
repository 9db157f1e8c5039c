output "api_url" {
  description = "Where clients reach the API: the custom domain, or Cloud Run's address."
  value       = module.functions.public_url
}

output "domain_ip_address" {
  description = "Address that the custom domain's DNS must lead to; null without one."
  value       = one(module.domain[*].ip_address)
}

output "events_topic" {
  description = "Topic of events, by id and name: what integrators subscribe to."
  value       = module.events.events_topic
}

output "events_schema" {
  description = "Id of the schema of events."
  value       = module.events.schema
}

output "deliveries_topic" {
  description = "Topic of webhook deliveries, by id and name."
  value       = module.events.deliveries_topic
}

output "dead_letters_subscription" {
  description = "Name of the subscription that keeps what no function would take."
  value       = module.events.dead_letters_subscription
}

output "uploads_bucket" {
  description = "Bucket where recordings arrive, by name, url and id."
  value       = module.storage.uploads
}

output "results_bucket" {
  description = "Bucket where artifacts are written, by name, url and id."
  value       = module.storage.results
}

output "database" {
  description = "Firestore database of the jobs, by name and id."
  value       = module.status.database
}

output "function_urls" {
  description = "Cloud Run's addresses of the functions, by name."
  value       = module.functions.urls
}

output "service_accounts" {
  description = "Addresses of the accounts that functions run as, by the function's name, and of those that call them: pushes, scheduler, uploads."
  value       = merge(local.accounts, local.callers)
}

output "alert_policy_ids" {
  description = "Ids of the alert policies, by what they watch; null where alerts are off."
  value       = one(module.observability[*].alert_policy_ids)
}

output "dashboard_id" {
  description = "Id of the dashboard; null where there is none."
  value       = one(module.observability[*].dashboard_id)
}
