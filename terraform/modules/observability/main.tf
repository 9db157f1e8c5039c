locals {
  # Log lines and requests of our functions, and of nothing else that runs in the project.
  services    = sort(values(var.function_services))
  our_logs    = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=(${join(" OR ", [for name in local.services : "\"${name}\""])})"
  our_api     = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${var.function_services["api"]}\""
  is_of_runs  = "monitored_resource=\"cloud_run_revision\""
  is_of_topic = "monitored_resource=\"pubsub_subscription\""

  # How PromQL calls a log-based metric.
  promql = {
    for key, metric in {
      jobs_ended  = google_logging_metric.jobs_ended
      jobs_stuck  = google_logging_metric.jobs_stuck
      sweeps      = google_logging_metric.sweeps
      runner_away = google_logging_metric.runner_away
      api_seconds = google_logging_metric.api_seconds
    } : key => "logging_googleapis_com:user_${replace(metric.name, "/[^A-Za-z0-9_]/", "_")}"
  }
}

# What infra/pipeline/outbox.py says of each job that ended, at least once.
resource "google_logging_metric" "jobs_ended" {
  project     = var.project_id
  name        = "${var.name_prefix}/jobs_ended"
  description = "Jobs that ended, by state and error code."
  filter      = "${local.our_logs} AND jsonPayload.what=\"job.ended\""

  metric_descriptor {
    display_name = "Jobs that ended"
    metric_kind  = "DELTA"
    value_type   = "INT64"
    unit         = "1"

    labels {
      key         = "state"
      value_type  = "STRING"
      description = "completed, rejected, failed, canceled or expired."
    }
    labels {
      key         = "code"
      value_type  = "STRING"
      description = "Error code; empty where there was no error."
    }
  }

  label_extractors = {
    state = "EXTRACT(jsonPayload.state)"
    code  = "EXTRACT(jsonPayload.code)"
  }
}

# What infra/pipeline/sweep.py says of each job that would not have gone on by itself.
resource "google_logging_metric" "jobs_stuck" {
  project     = var.project_id
  name        = "${var.name_prefix}/jobs_stuck"
  description = "Jobs that the sweep had to help on, fail, or could do nothing for."
  filter      = "${local.our_logs} AND jsonPayload.what=\"job.stuck\""

  metric_descriptor {
    display_name = "Jobs that were stuck"
    metric_kind  = "DELTA"
    value_type   = "INT64"
    unit         = "1"

    labels {
      key         = "why"
      value_type  = "STRING"
      description = "upload_unnoticed, attempt_silent, overdue or unserved."
    }
    labels {
      key         = "code"
      value_type  = "STRING"
      description = "Error code, where there is one."
    }
  }

  label_extractors = {
    why  = "EXTRACT(jsonPayload.why)"
    code = "EXTRACT(jsonPayload.code)"
  }
}

resource "google_logging_metric" "sweeps" {
  project     = var.project_id
  name        = "${var.name_prefix}/sweeps"
  description = "Sweeps that came to their end."
  filter      = "${local.our_logs} AND jsonPayload.what=\"sweep.completed\""

  metric_descriptor {
    display_name = "Sweeps"
    metric_kind  = "DELTA"
    value_type   = "INT64"
    unit         = "1"
  }
}

resource "google_logging_metric" "runner_away" {
  project     = var.project_id
  name        = "${var.name_prefix}/runner_away"
  description = "Sweeps that could not reach Modal."
  filter      = "${local.our_logs} AND jsonPayload.what=\"sweep.completed\" AND jsonPayload.runner_is_away=true"

  metric_descriptor {
    display_name = "Sweeps without Modal"
    metric_kind  = "DELTA"
    value_type   = "INT64"
    unit         = "1"
  }
}

# Cloud Run's own metric of latencies knows no routes, and some of the API wait for a job on purpose: those are left out.
resource "google_logging_metric" "api_seconds" {
  project         = var.project_id
  name            = "${var.name_prefix}/api_seconds"
  description     = "How long requests to the API take, without those that wait for a job."
  filter          = "${local.our_api} AND log_id(\"run.googleapis.com/requests\") AND NOT httpRequest.requestUrl=~\"/events([?]|$)|/v1/audio/|[?&]wait_s=\""
  value_extractor = "REGEXP_EXTRACT(httpRequest.latency, \"([0-9.]+)\")"

  metric_descriptor {
    display_name = "Duration of API requests"
    metric_kind  = "DELTA"
    value_type   = "DISTRIBUTION"
    unit         = "s"
  }

  bucket_options {
    # 5 ms to about 5 minutes.
    exponential_buckets {
      num_finite_buckets = 32
      growth_factor      = 1.4142135623730951
      scale              = 0.005
    }
  }
}
