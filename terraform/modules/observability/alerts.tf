locals {
  # Commands in the alerts' texts are to be run by someone who may read the project.
  on_project = "EARWITNESS_CLOUD=google EARWITNESS_PROJECT=${var.project_id} earwitness"
  requests   = "run_googleapis_com:request_count{${local.is_of_runs},service_name=~\"${join("|", local.services)}\"}"
  errors     = "run_googleapis_com:request_count{${local.is_of_runs},service_name=~\"${join("|", local.services)}\",response_code_class=\"5xx\"}"

  alerts = {
    dead_letters = {
      title    = "messages in the dead letters"
      severity = "ERROR"
      query    = "max(pubsub_googleapis_com:subscription_num_undelivered_messages{${local.is_of_topic},subscription_id=\"${var.dead_letters_subscription}\"}) > ${var.thresholds.dead_letters}"
      duration = "0s"
      todo     = <<-EOT
        A function has refused an event until Pub/Sub gave it up. It is kept for 31 days; meanwhile the sweep moves its job on as far as it can.

        1. See what it is: `${local.on_project} dead-letters list`
        2. See why it was refused: `gcloud logging read 'resource.type="cloud_run_revision" AND severity>=WARNING' --project=${var.project_id} --freshness=1d`
        3. Once that is mended, deliver it again, under the id it had: `${local.on_project} dead-letters replay`
      EOT
    }
    oldest_unacked = {
      title    = "events wait too long"
      severity = "WARNING"
      query    = "max by (subscription_id) (pubsub_googleapis_com:subscription_oldest_unacked_message_age{${local.is_of_topic},subscription_id=~\"${join("|", sort(var.subscriptions))}\"}) > ${var.thresholds.oldest_unacked_s}"
      duration = "300s"
      todo     = <<-EOT
        The function behind the subscription `$${metric_or_resource.label.subscription_id}` refuses its oldest event again and again, or cannot keep up.

        1. See what it refuses: `gcloud logging read 'resource.type="cloud_run_revision" AND severity>=WARNING' --project=${var.project_id} --freshness=1h`
        2. If it refuses nothing, raise its max_instances.
        3. What it goes on refusing comes to the dead letters: `${local.on_project} dead-letters list`
      EOT
    }
    stuck_jobs = {
      title    = "jobs get stuck"
      severity = "WARNING"
      query    = "sum by (why) (increase(${local.promql.jobs_stuck}{${local.is_of_runs},why!=\"unserved\"}[15m])) > ${var.thresholds.stuck_jobs}"
      duration = "0s"
      todo     = <<-EOT
        The sweep had to help jobs on, so something that should have moved them did not come. The jobs go on; find what was lost.

        1. See which: `gcloud logging read 'jsonPayload.what="job.stuck"' --project=${var.project_id} --freshness=1h`
        2. `upload_unnoticed`: the bucket's events do not reach on_upload. Look at its trigger and at the dead letters: `${local.on_project} dead-letters list`
        3. `attempt_silent`: a GPU job vanished, took too long or could not report. Look at the app in Modal's dashboard, and whether it is deployed in this version: `earwitness gpu deploy`
        4. `overdue`: jobs passed the deadline that their caller gave. Try one again: `${local.on_project} retry JOB_ID`
      EOT
    }
    unserved_jobs = {
      title    = "the sweep can do nothing for some jobs"
      severity = "ERROR"
      query    = "sum by (code) (increase(${local.promql.jobs_stuck}{${local.is_of_runs},why=\"unserved\"}[15m])) > ${var.thresholds.unserved_jobs}"
      duration = "0s"
      todo     = <<-EOT
        A service that the sweep needs does not answer, or a job is in a state that it cannot mend. It tries again each minute.

        1. See which jobs, and the code: `gcloud logging read 'jsonPayload.what="job.stuck" AND jsonPayload.why="unserved"' --project=${var.project_id} --freshness=1h`
        2. With `service.unavailable`, wait for the service. Otherwise give the job up with `${local.on_project} cancel JOB_ID`, and report the defect.
      EOT
    }
    sweep_absent = {
      title    = "no sweep was completed"
      severity = "CRITICAL"
      query    = "sum(increase(${local.promql.sweeps}{${local.is_of_runs}}[${var.thresholds.sweep_absent_s}s])) < 1 or absent_over_time(${local.promql.sweeps}{${local.is_of_runs}}[${var.thresholds.sweep_absent_s}s])"
      # Not at once: after the first apply there was none yet.
      duration = "300s"
      todo     = <<-EOT
        What gets lost is not found any more: retries of stages, events that wait in the outbox, webhooks whose next attempt is due. Nothing is lost, it waits.

        1. See whether the scheduler calls: `gcloud scheduler jobs list --project=${var.project_id}`
        2. See what the function says: `gcloud logging read 'resource.labels.service_name="${lookup(var.function_services, "sweep", "${var.name_prefix}-sweep")}"' --project=${var.project_id} --freshness=1h`
        3. Lines without `jsonPayload` mean that EARWITNESS_LOG_FORMAT is not json: then the sweep may work, and is only not counted.
      EOT
    }
    runner_away = {
      title    = "Modal cannot be reached"
      severity = "ERROR"
      query    = "sum(increase(${local.promql.runner_away}{${local.is_of_runs}}[10m])) > ${var.thresholds.runner_away_sweeps}"
      duration = "0s"
      todo     = <<-EOT
        Stages stay pending with the error `service.unavailable`, and start by themselves once Modal answers. No job fails by this.

        1. See https://status.modal.com
        2. See what Modal answers: `gcloud logging read 'jsonPayload.logger=("infra.pipeline.dispatch" OR "infra.pipeline.sweep")' --project=${var.project_id} --freshness=1h`
        3. If the token was revoked, store a new one; if an app is missing, deploy it: `earwitness gpu deploy`
      EOT
    }
    error_ratio = {
      title    = "a function answers with errors"
      severity = "ERROR"
      query    = "sum by (service_name) (rate(${local.errors}[10m])) / sum by (service_name) (rate(${local.requests}[10m])) > ${var.thresholds.error_ratio}"
      duration = "300s"
      todo     = <<-EOT
        `$${metric_or_resource.label.service_name}` answers 5xx. Events that it refuses so are delivered again.

        1. See why: `gcloud logging read 'resource.type="cloud_run_revision" AND severity>=WARNING' --project=${var.project_id} --freshness=1h`
        2. 503 is a service that does not answer. 500 is a defect, with its traceback in Error Reporting: go back to the version before, and report it.
        3. Afterwards look for what was given up meanwhile: `${local.on_project} dead-letters list`
      EOT
    }
    api_latency = {
      title    = "the API is slow"
      severity = "WARNING"
      query    = "histogram_quantile(0.95, sum by (le) (rate(${local.promql.api_seconds}_bucket{${local.is_of_runs}}[10m]))) > ${var.thresholds.api_p95_s}"
      duration = "300s"
      todo     = <<-EOT
        One request in twenty takes longer than the threshold. Those that wait for a job are not counted.

        1. See on the dashboard whether instances are at their limit (raise max_instances) or always new (raise min_instances: a cold start takes about a second).
        2. See which routes: `gcloud logging read 'resource.labels.service_name="${var.function_services["api"]}" AND httpRequest.latency>"1s"' --project=${var.project_id} --freshness=1h`
      EOT
    }
    failed_jobs = {
      title    = "many jobs fail"
      severity = "ERROR"
      query    = "sum(increase(${local.promql.jobs_ended}{${local.is_of_runs},state=\"failed\"}[30m])) / sum(increase(${local.promql.jobs_ended}{${local.is_of_runs},state=~\"completed|failed\"}[30m])) > ${var.thresholds.failed_job_ratio}"
      duration = "0s"
      todo     = <<-EOT
        A stage failed for good, after its retries. Recordings that were not accepted are not counted.

        1. See the codes, and which jobs: `gcloud logging read 'jsonPayload.what="job.ended" AND jsonPayload.state="failed"' --project=${var.project_id} --freshness=1h`
        2. `gpu.out_of_memory`, `model.unavailable`, `stage.crashed`: deploy again, with a larger accelerator if need be: `earwitness gpu deploy`
        3. Try again what failed; what was completed stays: `${local.on_project} retry JOB_ID`
      EOT
    }
  }
}

resource "google_monitoring_alert_policy" "main" {
  for_each = local.alerts

  project               = var.project_id
  display_name          = "${var.name_prefix}: ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = var.notification_channels
  user_labels           = var.labels

  conditions {
    display_name = each.value.title

    condition_prometheus_query_language {
      query               = each.value.query
      duration            = each.value.duration
      evaluation_interval = "60s"
      # A metric that nothing was counted for yet is not known to Monitoring, and the first apply would fail.
      disable_metric_validation = true
    }
  }

  alert_strategy {
    auto_close = "3600s"
  }

  documentation {
    mime_type = "text/markdown"
    content   = each.value.todo
  }
}
