output "api_url" {
  description = "Where clients reach the API."
  value       = module.earwitness.api_url
}

output "uploads_bucket" {
  description = "Name of the bucket where recordings arrive."
  value       = module.earwitness.uploads_bucket.name
}
