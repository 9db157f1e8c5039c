provider "google" {
  project = "demo-project"
}

variables {
  project_id                = "demo-project"
  function_services         = { api = "earwitness-api", sweep = "earwitness-sweep", on_upload = "earwitness-on-upload" }
  subscriptions             = ["earwitness-orchestrate", "earwitness-notify"]
  dead_letters_subscription = "earwitness-dead-letters"
}

run "log_metrics_count_our_own_lines_and_no_others" {
  command = plan

  assert {
    condition     = google_logging_metric.jobs_ended.filter == "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=(\"earwitness-api\" OR \"earwitness-on-upload\" OR \"earwitness-sweep\") AND jsonPayload.what=\"job.ended\""
    error_message = "jobs_ended counts something else: ${google_logging_metric.jobs_ended.filter}"
  }
  assert {
    condition     = google_logging_metric.jobs_stuck.filter == "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=(\"earwitness-api\" OR \"earwitness-on-upload\" OR \"earwitness-sweep\") AND jsonPayload.what=\"job.stuck\""
    error_message = "jobs_stuck counts something else: ${google_logging_metric.jobs_stuck.filter}"
  }
  assert {
    condition     = google_logging_metric.sweeps.filter == "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=(\"earwitness-api\" OR \"earwitness-on-upload\" OR \"earwitness-sweep\") AND jsonPayload.what=\"sweep.completed\""
    error_message = "sweeps counts something else: ${google_logging_metric.sweeps.filter}"
  }
  assert {
    condition     = google_logging_metric.runner_away.filter == "${google_logging_metric.sweeps.filter} AND jsonPayload.runner_is_away=true"
    error_message = "runner_away counts something else: ${google_logging_metric.runner_away.filter}"
  }
  assert {
    condition     = google_logging_metric.api_seconds.filter == "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"earwitness-api\" AND log_id(\"run.googleapis.com/requests\") AND NOT httpRequest.requestUrl=~\"/events([?]|$)|/v1/audio/|[?&]wait_s=\""
    error_message = "api_seconds measures something else: ${google_logging_metric.api_seconds.filter}"
  }
}

run "log_metrics_have_bounded_labels_and_kinds_that_can_be_summed" {
  command = plan

  assert {
    condition     = google_logging_metric.jobs_ended.label_extractors == tomap({ state = "EXTRACT(jsonPayload.state)", code = "EXTRACT(jsonPayload.code)" })
    error_message = "Ended jobs are told apart by state and code, and by nothing that has no end, such as ids."
  }
  assert {
    condition     = google_logging_metric.jobs_stuck.label_extractors == tomap({ why = "EXTRACT(jsonPayload.why)", code = "EXTRACT(jsonPayload.code)" })
    error_message = "Stuck jobs are told apart by reason and code."
  }
  assert {
    condition     = toset([for label in google_logging_metric.jobs_ended.metric_descriptor[0].labels : label.key]) == toset(keys(google_logging_metric.jobs_ended.label_extractors))
    error_message = "Each extracted label of jobs_ended is declared."
  }
  assert {
    condition     = toset([for label in google_logging_metric.jobs_stuck.metric_descriptor[0].labels : label.key]) == toset(keys(google_logging_metric.jobs_stuck.label_extractors))
    error_message = "Each extracted label of jobs_stuck is declared."
  }
  assert {
    condition = alltrue([
      for metric in [google_logging_metric.jobs_ended, google_logging_metric.jobs_stuck, google_logging_metric.sweeps, google_logging_metric.runner_away] :
      metric.metric_descriptor[0].metric_kind == "DELTA" && metric.metric_descriptor[0].value_type == "INT64" && metric.project == "demo-project"
    ])
    error_message = "Counters are DELTA and INT64, in the given project."
  }
  assert {
    condition     = google_logging_metric.api_seconds.metric_descriptor[0].value_type == "DISTRIBUTION" && google_logging_metric.api_seconds.value_extractor == "REGEXP_EXTRACT(httpRequest.latency, \"([0-9.]+)\")"
    error_message = "Durations are a distribution of Cloud Run's own measure."
  }
  assert {
    condition     = toset(keys(output.metric_types)) == toset(["jobs_ended", "jobs_stuck", "sweeps", "runner_away", "api_seconds"]) && output.metric_types["sweeps"] == "logging.googleapis.com/user/earwitness/sweeps"
    error_message = "The metrics' types are told."
  }
}

run "alerts_ask_for_what_they_say" {
  command = plan

  assert {
    condition     = toset(keys(google_monitoring_alert_policy.main)) == toset(["dead_letters", "oldest_unacked", "stuck_jobs", "unserved_jobs", "sweep_absent", "runner_away", "error_ratio", "api_latency", "failed_jobs"])
    error_message = "There are nine alerts."
  }
  assert {
    condition     = google_monitoring_alert_policy.main["dead_letters"].conditions[0].condition_prometheus_query_language[0].query == "max(pubsub_googleapis_com:subscription_num_undelivered_messages{monitored_resource=\"pubsub_subscription\",subscription_id=\"earwitness-dead-letters\"}) > 0"
    error_message = "One dead letter is one too many."
  }
  assert {
    condition     = google_monitoring_alert_policy.main["oldest_unacked"].conditions[0].condition_prometheus_query_language[0].query == "max by (subscription_id) (pubsub_googleapis_com:subscription_oldest_unacked_message_age{monitored_resource=\"pubsub_subscription\",subscription_id=~\"earwitness-notify|earwitness-orchestrate\"}) > 1200"
    error_message = "Each subscription's oldest message is watched, and not the dead letters', which stay on purpose."
  }
  assert {
    condition     = google_monitoring_alert_policy.main["stuck_jobs"].conditions[0].condition_prometheus_query_language[0].query == "sum by (why) (increase(logging_googleapis_com:user_earwitness_jobs_stuck{monitored_resource=\"cloud_run_revision\",why!=\"unserved\"}[15m])) > 5"
    error_message = "Stuck jobs are counted by reason, without those that could not be helped."
  }
  assert {
    condition     = google_monitoring_alert_policy.main["unserved_jobs"].conditions[0].condition_prometheus_query_language[0].query == "sum by (code) (increase(logging_googleapis_com:user_earwitness_jobs_stuck{monitored_resource=\"cloud_run_revision\",why=\"unserved\"}[15m])) > 10"
    error_message = "Jobs that could not be helped are an alert of their own."
  }
  assert {
    condition     = google_monitoring_alert_policy.main["sweep_absent"].conditions[0].condition_prometheus_query_language[0].query == "sum(increase(logging_googleapis_com:user_earwitness_sweeps{monitored_resource=\"cloud_run_revision\"}[600s])) < 1 or absent_over_time(logging_googleapis_com:user_earwitness_sweeps{monitored_resource=\"cloud_run_revision\"}[600s])"
    error_message = "Ten minutes without a sweep fire, also where there never was one."
  }
  assert {
    condition     = google_monitoring_alert_policy.main["runner_away"].conditions[0].condition_prometheus_query_language[0].query == "sum(increase(logging_googleapis_com:user_earwitness_runner_away{monitored_resource=\"cloud_run_revision\"}[10m])) > 3"
    error_message = "Some sweeps in a row without Modal fire."
  }
  assert {
    condition     = google_monitoring_alert_policy.main["error_ratio"].conditions[0].condition_prometheus_query_language[0].query == "sum by (service_name) (rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=~\"earwitness-api|earwitness-on-upload|earwitness-sweep\",response_code_class=\"5xx\"}[10m])) / sum by (service_name) (rate(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\",service_name=~\"earwitness-api|earwitness-on-upload|earwitness-sweep\"}[10m])) > 0.05"
    error_message = "The share of 5xx is of each function for itself."
  }
  assert {
    condition     = google_monitoring_alert_policy.main["api_latency"].conditions[0].condition_prometheus_query_language[0].query == "histogram_quantile(0.95, sum by (le) (rate(logging_googleapis_com:user_earwitness_api_seconds_bucket{monitored_resource=\"cloud_run_revision\"}[10m]))) > 2"
    error_message = "Latency is the API's 95th percentile."
  }
  assert {
    condition     = google_monitoring_alert_policy.main["failed_jobs"].conditions[0].condition_prometheus_query_language[0].query == "sum(increase(logging_googleapis_com:user_earwitness_jobs_ended{monitored_resource=\"cloud_run_revision\",state=\"failed\"}[30m])) / sum(increase(logging_googleapis_com:user_earwitness_jobs_ended{monitored_resource=\"cloud_run_revision\",state=~\"completed|failed\"}[30m])) > 0.1"
    error_message = "Failed jobs are a share of those that came to a result; rejected recordings are no failure."
  }
}

run "every_alert_says_what_to_do_and_can_be_made_before_its_metric_has_data" {
  command = plan

  variables {
    labels                = { team = "speech" }
    notification_channels = ["projects/demo-project/notificationChannels/1"]
  }

  assert {
    condition     = alltrue([for policy in google_monitoring_alert_policy.main : can(regex("1\\. [^\\n]+\\n2\\. ", policy.documentation[0].content)) && policy.documentation[0].mime_type == "text/markdown"])
    error_message = "Each text has steps."
  }
  assert {
    condition     = alltrue([for policy in google_monitoring_alert_policy.main : policy.conditions[0].condition_prometheus_query_language[0].disable_metric_validation])
    error_message = "Monitoring does not know a metric of which nothing was counted yet."
  }
  assert {
    condition     = alltrue([for policy in google_monitoring_alert_policy.main : policy.notification_channels == tolist(["projects/demo-project/notificationChannels/1"]) && policy.user_labels == tomap({ team = "speech" })])
    error_message = "Each alert tells the given channels and has the given labels."
  }
  assert {
    condition     = strcontains(google_monitoring_alert_policy.main["dead_letters"].documentation[0].content, "`EARWITNESS_CLOUD=google EARWITNESS_PROJECT=demo-project earwitness dead-letters replay`")
    error_message = "Who sees dead letters is told how to deliver them again."
  }
  assert {
    condition     = strcontains(google_monitoring_alert_policy.main["error_ratio"].documentation[0].content, "$${metric_or_resource.label.service_name}")
    error_message = "The text names the function that the incident is of."
  }
  assert {
    condition     = google_monitoring_alert_policy.main["sweep_absent"].severity == "CRITICAL" && google_monitoring_alert_policy.main["sweep_absent"].conditions[0].condition_prometheus_query_language[0].duration == "300s"
    error_message = "Without the sweep nothing lost is found; but the first apply must not alarm at once."
  }
}

run "thresholds_and_names_are_the_callers" {
  command = plan

  variables {
    name_prefix = "speech-test"
    thresholds  = { dead_letters = 3, sweep_absent_s = 180, error_ratio = 0.2 }
  }

  assert {
    condition     = endswith(google_monitoring_alert_policy.main["dead_letters"].conditions[0].condition_prometheus_query_language[0].query, "> 3") && endswith(google_monitoring_alert_policy.main["error_ratio"].conditions[0].condition_prometheus_query_language[0].query, "> 0.2")
    error_message = "Given thresholds are used."
  }
  assert {
    condition     = strcontains(google_monitoring_alert_policy.main["sweep_absent"].conditions[0].condition_prometheus_query_language[0].query, "user_speech_test_sweeps{monitored_resource=\"cloud_run_revision\"}[180s]")
    error_message = "PromQL has underscores where the metric's name has a dash or slash."
  }
  assert {
    condition     = google_logging_metric.sweeps.name == "speech-test/sweeps" && google_monitoring_alert_policy.main["sweep_absent"].display_name == "speech-test: no sweep was completed"
    error_message = "Two deployments in one project have metrics and alerts of their own."
  }
}

run "the_dashboard_shows_all_without_a_place_of_zero" {
  command = plan

  assert {
    condition     = length(jsondecode(google_monitoring_dashboard.main["main"].dashboard_json).mosaicLayout.tiles) == 12
    error_message = "There are twelve charts."
  }
  assert {
    condition     = alltrue([for tile in jsondecode(google_monitoring_dashboard.main["main"].dashboard_json).mosaicLayout.tiles : try(tile.xPos, 1) != 0 && try(tile.yPos, 1) != 0])
    error_message = "Google drops a place of 0, and each plan would show a change."
  }
  assert {
    condition     = length(distinct([for tile in jsondecode(google_monitoring_dashboard.main["main"].dashboard_json).mosaicLayout.tiles : "${try(tile.xPos, 0)}/${try(tile.yPos, 0)}"])) == 12
    error_message = "No chart lies on another."
  }
  assert {
    condition     = strcontains(google_monitoring_dashboard.main["main"].dashboard_json, "[$${__interval}]")
    error_message = "Charts follow the time range that is looked at."
  }
}

run "there_is_no_dashboard_and_no_budget_unless_wanted" {
  command = plan

  variables {
    dashboard = false
  }

  assert {
    condition     = length(google_monitoring_dashboard.main) == 0 && output.dashboard_id == null
    error_message = "A dashboard can be left out."
  }
  assert {
    condition     = length(google_billing_budget.main) == 0 && output.budget_id == null
    error_message = "Without a budget given there is none."
  }
}

run "a_budget_is_of_this_project_alone_and_tells_the_channels" {
  command = plan

  variables {
    project_number        = "123456789"
    notification_channels = [for number in range(7) : "projects/demo-project/notificationChannels/${number}"]
    budget                = { billing_account = "012345-6789AB-CDEF01", amount = 200, currency_code = "EUR" }
  }

  assert {
    condition     = google_billing_budget.main["main"].budget_filter[0].projects == toset(["projects/123456789"])
    error_message = "The budget is of this project."
  }
  assert {
    condition     = google_billing_budget.main["main"].amount[0].specified_amount[0].units == "200" && google_billing_budget.main["main"].amount[0].specified_amount[0].currency_code == "EUR"
    error_message = "The amount is the given one."
  }
  assert {
    condition     = toset([for rule in google_billing_budget.main["main"].threshold_rules : rule.threshold_percent]) == toset([0.5, 0.9, 1])
    error_message = "It tells at half, nine tenths, and all of it."
  }
  assert {
    condition     = length(google_billing_budget.main["main"].all_updates_rule[0].monitoring_notification_channels) == 5
    error_message = "Google takes five channels for a budget."
  }
}

run "a_bad_prefix_is_refused" {
  command = plan
  variables {
    name_prefix = "Ear_Witness"
  }
  expect_failures = [var.name_prefix]
}

run "functions_without_the_api_are_refused" {
  command = plan
  variables {
    function_services = { sweep = "earwitness-sweep" }
  }
  # What comes after needs the API's name as well.
  expect_failures = [var.function_services]
}

run "a_services_full_id_is_refused" {
  command = plan
  variables {
    function_services = { api = "projects/p/locations/r/services/earwitness-api" }
  }
  expect_failures = [var.function_services]
}

run "a_subscriptions_full_id_is_refused" {
  command = plan
  variables {
    subscriptions = ["projects/demo-project/subscriptions/earwitness-notify"]
  }
  expect_failures = [var.subscriptions]
}

run "a_dead_letters_subscriptions_full_id_is_refused" {
  command = plan
  variables {
    dead_letters_subscription = "projects/demo-project/subscriptions/earwitness-dead-letters"
  }
  expect_failures = [var.dead_letters_subscription]
}

run "an_address_is_no_channel" {
  command = plan
  variables {
    notification_channels = ["someone@example.com"]
  }
  expect_failures = [var.notification_channels]
}

run "a_negative_threshold_is_refused" {
  command = plan
  variables {
    thresholds = { stuck_jobs = -1 }
  }
  expect_failures = [var.thresholds]
}

run "a_share_in_percent_is_refused" {
  command = plan
  variables {
    thresholds = { error_ratio = 5 }
  }
  expect_failures = [var.thresholds]
}

run "a_sweep_cannot_be_missed_within_its_own_minute" {
  command = plan
  variables {
    thresholds = { sweep_absent_s = 30 }
  }
  expect_failures = [var.thresholds]
}

run "a_billing_account_by_its_name_is_refused" {
  command = plan
  variables {
    budget = { billing_account = "ours", amount = 10 }
  }
  expect_failures = [var.budget]
}

run "a_budget_of_nothing_is_refused" {
  command = plan
  variables {
    budget = { billing_account = "012345-6789AB-CDEF01", amount = 0 }
  }
  expect_failures = [var.budget]
}

run "a_budget_that_never_tells_is_refused" {
  command = plan
  variables {
    budget = { billing_account = "012345-6789AB-CDEF01", amount = 10, thresholds = [] }
  }
  expect_failures = [var.budget]
}
