output "uploads" {
  description = "The bucket that recordings arrive in: its name, its gs:// address and its id. It is there before an Eventarc trigger on it can be."
  value = {
    name = google_storage_bucket.main["uploads"].name
    url  = "gs://${google_storage_bucket.main["uploads"].name}"
    id   = google_storage_bucket.main["uploads"].id
  }

  # A trigger is refused while the agent may not publish.
  depends_on = [google_project_iam_member.storage_agent_publishes]
}

output "results" {
  description = "The bucket that artifacts are written to: its name, its gs:// address and its id."
  value = {
    name = google_storage_bucket.main["results"].name
    url  = "gs://${google_storage_bucket.main["results"].name}"
    id   = google_storage_bucket.main["results"].id
  }
}
