output "database" {
  description = "The database: its name and its id. It is known once every index is there, so that no function is deployed before the indexes of its queries."
  value = {
    name = local.database
    id   = "projects/${var.project_id}/databases/${local.database}"
  }

  depends_on = [google_firestore_index.main]
}
