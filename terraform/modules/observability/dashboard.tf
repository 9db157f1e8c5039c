locals {
  watched     = "{${local.is_of_topic},subscription_id=~\"${join("|", sort(concat(var.subscriptions, [var.dead_letters_subscription])))}\"}"
  our_metrics = "{${local.is_of_runs},service_name=~\"${join("|", local.services)}\"}"

  charts = [
    { title = "Jobs that ended, by state", query = "sum by (state) (increase(${local.promql.jobs_ended}{${local.is_of_runs}}[$${__interval}]))" },
    { title = "Jobs that failed or were rejected, by error code", query = "sum by (code) (increase(${local.promql.jobs_ended}{${local.is_of_runs},state=~\"failed|rejected\"}[$${__interval}]))" },
    { title = "Jobs that were stuck, by reason", query = "sum by (why) (increase(${local.promql.jobs_stuck}{${local.is_of_runs}}[$${__interval}]))" },
    { title = "Sweeps completed", query = "sum(increase(${local.promql.sweeps}{${local.is_of_runs}}[$${__interval}]))" },
    { title = "Oldest event that waits, in seconds, by subscription", query = "max by (subscription_id) (pubsub_googleapis_com:subscription_oldest_unacked_message_age${local.watched})" },
    { title = "Events that wait, and dead letters, by subscription", query = "max by (subscription_id) (pubsub_googleapis_com:subscription_num_undelivered_messages${local.watched})" },
    { title = "Requests per second, by function", query = "sum by (service_name) (rate(${local.requests}[$${__interval}]))" },
    { title = "Share of 5xx, by function", query = "sum by (service_name) (rate(${local.errors}[$${__interval}])) / sum by (service_name) (rate(${local.requests}[$${__interval}]))" },
    { title = "Duration of API requests in seconds, 95th percentile", query = "histogram_quantile(0.95, sum by (le) (rate(${local.promql.api_seconds}_bucket{${local.is_of_runs}}[$${__interval}])))" },
    { title = "Duration in milliseconds, 95th percentile, by function", query = "histogram_quantile(0.95, sum by (le, service_name) (rate(run_googleapis_com:request_latencies_bucket${local.our_metrics}[$${__interval}])))" },
    { title = "Instances, by function", query = "sum by (service_name) (run_googleapis_com:container_instance_count${local.our_metrics})" },
    { title = "Sweeps that could not reach Modal", query = "sum(increase(${local.promql.runner_away}{${local.is_of_runs}}[$${__interval}]))" },
  ]

  tiles = [
    for place, chart in local.charts : merge(
      {
        width  = 24
        height = 16
        widget = {
          title = chart.title
          xyChart = {
            dataSets = [{
              plotType        = "LINE"
              targetAxis      = "Y1"
              timeSeriesQuery = { prometheusQuery = chart.query }
            }]
          }
        }
      },
      # Google leaves a place of 0 out again, and each plan would show a change.
      place % 2 == 0 ? {} : { xPos = 24 },
      place < 2 ? {} : { yPos = 16 * floor(place / 2) },
    )
  ]
}

resource "google_monitoring_dashboard" "main" {
  for_each = var.dashboard ? toset(["main"]) : toset([])

  project = var.project_id
  dashboard_json = jsonencode({
    displayName  = "${var.name_prefix}: jobs and functions"
    mosaicLayout = { columns = 48, tiles = local.tiles }
  })
}
