output "api_url" {
  description = "Where clients reach the API."
  value       = module.earwitness.api_url
}

output "uploads_bucket" {
  description = "Name of the bucket where recordings arrive."
  value       = module.earwitness.uploads_bucket.name
}

output "service_accounts" {
  description = "Accounts that were made: those that functions run as, and those that call them."
  value       = module.earwitness.service_accounts
}
