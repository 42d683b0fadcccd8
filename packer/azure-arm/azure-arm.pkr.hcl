# A managed image in a subscription of Azure. Its user is no root: -var 'become=sudo -n'.

locals {
  builder = "azure-arm"
}

variable "subscription_id" {
  type        = string
  default     = env("ARM_SUBSCRIPTION_ID")
  description = "By default the environment variable ARM_SUBSCRIPTION_ID."
}

variable "tenant_id" {
  type        = string
  default     = env("ARM_TENANT_ID")
  description = "By default the environment variable ARM_TENANT_ID."
}

variable "client_id" {
  type        = string
  default     = env("ARM_CLIENT_ID")
  description = "By default the environment variable ARM_CLIENT_ID."
}

variable "client_secret" {
  type        = string
  default     = env("ARM_CLIENT_SECRET")
  sensitive   = true
  description = "By default the environment variable ARM_CLIENT_SECRET."
}

variable "resource_group" {
  type        = string
  default     = "mailcow-ready"
  description = "The resource group that gets the image; it must be there."
}

variable "location" {
  type        = string
  default     = "germanywestcentral"
  description = "Where the image is made."
}

variable "vm_size" {
  type        = string
  default     = ""
  description = "Empty: a small one of the architecture."
}

variable "ssh_username" {
  type        = string
  default     = "packer"
  description = "The user that is made for the build; the seal takes its keys away."
}

# Sizes as of November 2026.
source "azure-arm" "mailcow-ready" {
  subscription_id                   = var.subscription_id
  tenant_id                         = var.tenant_id
  client_id                         = var.client_id
  client_secret                     = var.client_secret
  location                          = var.location
  vm_size                           = var.vm_size != "" ? var.vm_size : (var.architecture == "arm64" ? "Standard_B2ps_v2" : "Standard_B2s_v2")
  os_type                           = "Linux"
  image_publisher                   = "Debian"
  image_offer                       = "debian-13"
  image_sku                         = var.architecture == "arm64" ? "13-arm64" : "13-gen2"
  ssh_username                      = var.ssh_username
  managed_image_resource_group_name = var.resource_group
  managed_image_name                = "${var.snapshot_name}-${formatdate("YYYYMMDDhhmm", timestamp())}"
}
