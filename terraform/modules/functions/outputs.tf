output "urls" {
  description = "Where each function answers, by its name."
  value       = { for name, function in local.deployed : name => function.service_config[0].uri }
}

output "names" {
  description = "Name of each function, which is that of its Cloud Run service, by the function's name."
  value       = { for name, function in local.deployed : name => function.name }
}

output "public_url" {
  description = "Where clients reach the API: public_url if given, else its own address. Null where there is no API."
  value       = var.public_url != null ? var.public_url : try(google_cloudfunctions2_function.public[local.api_function].service_config[0].uri, null)
}

output "sources_bucket" {
  description = "Name of the bucket that bundles are in."
  value       = google_storage_bucket.sources.name
}

output "sources" {
  description = "Object that each function is built from, by the function's name. It changes with the bundle and only then."
  value       = { for name, object in google_storage_bucket_object.source : name => object.name }
}

output "repository" {
  description = "Artifact Registry repository of the functions' images."
  value       = google_artifact_registry_repository.images.id
}

output "build_service_account" {
  description = "Email of the service account that builds the functions."
  value       = google_service_account.build.email
}
