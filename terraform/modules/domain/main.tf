# What a request meets: the policy, the log, the service.

resource "google_compute_region_network_endpoint_group" "service" {
  project               = var.project_id
  region                = var.region
  name                  = "${var.name_prefix}-api"
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = var.service_name
  }
}

resource "google_compute_backend_service" "service" {
  project               = var.project_id
  name                  = "${var.name_prefix}-api"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  security_policy       = var.security_policy

  backend {
    group = google_compute_region_network_endpoint_group.service.id
  }

  log_config {
    enable      = true
    sample_rate = 1
  }
}

resource "google_compute_url_map" "https" {
  project         = var.project_id
  name            = "${var.name_prefix}-api"
  default_service = google_compute_backend_service.service.id
}
