resource "google_billing_budget" "main" {
  for_each = var.budget == null ? {} : { main = var.budget }

  billing_account = each.value.billing_account
  display_name    = "${var.name_prefix} (${var.project_id})"

  budget_filter {
    projects        = ["projects/${coalesce(var.project_number, var.project_id)}"]
    calendar_period = "MONTH"
  }

  amount {
    specified_amount {
      currency_code = each.value.currency_code
      units         = tostring(each.value.amount)
    }
  }

  dynamic "threshold_rules" {
    for_each = each.value.thresholds
    iterator = share

    content {
      threshold_percent = share.value
    }
  }

  # Told are the account's own administrators as well. Google takes five channels here.
  dynamic "all_updates_rule" {
    for_each = length(var.notification_channels) == 0 ? [] : [slice(var.notification_channels, 0, min(5, length(var.notification_channels)))]
    iterator = channels

    content {
      monitoring_notification_channels = channels.value
    }
  }
}
