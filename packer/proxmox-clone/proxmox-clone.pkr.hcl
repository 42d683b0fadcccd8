# A template on a Proxmox VE, made from a template with cloud-init that is there.

locals {
  builder = "proxmox-clone"
}

variable "proxmox_url" {
  type        = string
  default     = env("PROXMOX_URL")
  description = "https://HOST:8006/api2/json; by default the environment variable PROXMOX_URL."
}

variable "proxmox_username" {
  type        = string
  default     = env("PROXMOX_USERNAME")
  description = "Such as root@pam; by default the environment variable PROXMOX_USERNAME."
}

variable "proxmox_password" {
  type        = string
  default     = env("PROXMOX_PASSWORD")
  sensitive   = true
  description = "By default the environment variable PROXMOX_PASSWORD."
}

variable "node" {
  type        = string
  default     = "pve"
  description = "The node of the cluster that builds."
}

variable "clone_vm" {
  type        = string
  default     = "debian-13"
  description = "The template to start from: a cloud image with a drive for cloud-init."
}

variable "ssh_username" {
  type        = string
  default     = "root"
  description = "The user of the template."
}

source "proxmox-clone" "mailcow-ready" {
  proxmox_url   = var.proxmox_url
  username      = var.proxmox_username
  password      = var.proxmox_password
  node          = var.node
  clone_vm      = var.clone_vm
  full_clone    = true
  cores         = 2
  memory        = 2048
  os            = "l26"
  ssh_username  = var.ssh_username
  template_name = "${var.snapshot_name}-${formatdate("YYYYMMDDhhmm", timestamp())}"
}
