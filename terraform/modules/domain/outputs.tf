output "ip_address" {
  description = "Address that the domain's A record has to lead to."
  value       = google_compute_global_address.main.address
}

output "url" {
  description = "Where clients reach the service."
  value       = "https://${var.domain}"
}
