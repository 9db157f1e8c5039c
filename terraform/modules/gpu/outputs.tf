output "secrets" {
  description = "Id, version and project of each secret, by its name. Known once those in accessors may read it, so that no function is deployed before."
  value       = local.secrets

  depends_on = [google_secret_manager_secret_iam_member.accessor]
}
