# Once a minute `sweep` finds what got stuck. A call that fails is not repeated: the next one is due.

resource "google_cloud_scheduler_job" "sweep" {
  project          = local.project_id
  region           = var.region
  name             = "${var.name_prefix}-sweep"
  description      = "Finds lost reports, expired leases and uploads, unpublished events, and what is past its retention."
  schedule         = local.contract.sweep.schedule
  time_zone        = "Etc/UTC"
  attempt_deadline = "${local.contract.sweep.attempt_deadline_s}s"

  http_target {
    http_method = "POST"
    uri         = module.functions.urls["sweep"]

    oidc_token {
      service_account_email = local.callers.scheduler
      audience              = module.functions.urls["sweep"]
    }
  }
}
