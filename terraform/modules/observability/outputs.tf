output "alert_policy_ids" {
  description = "Ids of the alert policies, by what they watch."
  value       = { for key, policy in google_monitoring_alert_policy.main : key => policy.id }
}

output "metric_types" {
  description = "Log-based metrics as Cloud Monitoring calls them, by name."
  value = {
    for metric in [
      google_logging_metric.jobs_ended,
      google_logging_metric.jobs_stuck,
      google_logging_metric.sweeps,
      google_logging_metric.runner_away,
      google_logging_metric.api_seconds,
    ] : trimprefix(metric.name, "${var.name_prefix}/") => "logging.googleapis.com/user/${metric.name}"
  }
}

output "dashboard_id" {
  description = "Id of the dashboard; null without one."
  value       = one([for dashboard in google_monitoring_dashboard.main : dashboard.id])
}

output "budget_id" {
  description = "Id of the budget; null without one."
  value       = one([for budget in google_billing_budget.main : budget.id])
}
